/**
 * The tensor backend `whetstone`, which importing this registers, and the choice of a backend. Whetstone's own packages
 * also import `./internal.js`; `./install/index.js` finds and downloads libraries.
 *
 * @module @whetstone/backend
 */
import { registerLazyBackend } from './lazy-backend.js';

registerLazyBackend();

export { createDeviceRandom } from './random/device-random.js';
export { registerWhetstoneBackend, type RegisterOptions } from './register.js';
export { createBackendResolver, resolveBackend } from './resolve.js';
