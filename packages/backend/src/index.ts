/**
 * The tensor backends of Whetstone: which one is used, how it is fetched, and our own, which importing this offers to
 * tfjs-core as `whetstone`.
 */
import { offerToTfjs } from './offer.js';

offerToTfjs();

export * from './install/index.js';
export { presentAccelerators } from './choose-engine.js';
export { backendNames, createBackendResolver, resolveBackend, type ResolveOptions } from './resolve.js';
export { BACKEND_NAME, registerWhetstoneBackend, type RegisterOptions } from './register.js';
export { WhetstoneBackend } from './recorder/backend.js';
export type { BackendCounters } from './recorder/counters.js';
export { measureMatmul, type MatmulSpeed } from './measure.js';
export { createDeviceRandom, type DeviceRandom } from './random/device-random.js';
export { probeXla } from './engines/xla/probe.js';
export { probeTensorflow } from './engines/tensorflow/library.js';
