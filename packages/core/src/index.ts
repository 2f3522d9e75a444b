/** The training engine: what one composes a trainer of. `@whetstone/core/contract` alone is what plugins need. */
import '@whetstone/core/tfjs-gradients';

export * from './contract/index.js';
export * from './config/index.js';
export * from './distributed/index.js';
export * from './engine/index.js';
export * from './hooks/index.js';
export * from './optimizers/index.js';
export * from './plugins/index.js';
export * from './trainer/index.js';
export {
  inject,
  injectable,
  provide,
  provideClass,
  provideFactory,
  type ServiceRegistration,
  type Services,
} from './container.js';
export type { TrainerEvent, TrainerListener } from './events.js';
export { corePlugins } from './core-plugins.js';
export * from './checkpoint/index.js';
