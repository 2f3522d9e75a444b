/** Tensor backends: choosing one, fetching its library, and the backend `whetstone`, which importing this registers. */
import { registerLazyBackend } from './lazy-backend.js';

registerLazyBackend();

export * from './install/index.js';
export { presentAccelerators } from './engine-choice.js';
export { backendNames, createBackendResolver, resolveBackend, type ResolveOptions } from './resolve.js';
export { BACKEND_NAME, registerWhetstoneBackend, type RegisterOptions } from './register.js';
export { WhetstoneBackend, type BackendCounters } from './recorder/backend.js';
export { measureMatmul, type MatmulSpeed } from './matmul-speed.js';
export { createDeviceRandom, type DeviceRandom } from './random/device-random.js';
export { probeXla } from './engines/xla/probe.js';
export { probeTensorflow } from './engines/tensorflow/library.js';
