/**
 * Exports the `Trainer`, and functions and tokens for registering its services. The types of the services are in
 * `@whetstone/core/contract`, which plugins are written against.
 *
 * @module @whetstone/core
 */
export {
  BACKEND_RESOLVER,
  BATCH_SOURCE_FACTORY,
  CLOCK,
  EVAL_DATA,
  LOADED_MODEL,
  LOGGER,
  MODEL_LOADER,
  REPLY_GENERATOR,
  TENSOR_BACKEND,
  LOSS_METERS,
  TEXT_GENERATORS,
  TRAIN_DATA,
} from './contract/index.js';
export { CHECKPOINT_STORE } from './checkpoint/store.js';
export type { ConfigDefaults } from './config/index.js';
export { inject, injectable, provide, provideClass, provideFactory, type ServiceRegistration } from './container.js';
export { corePlugins } from './core-plugins.js';
export { later, type SharedModules } from './plugins/shared-modules.js';
export type { TrainerOptions } from './trainer/options.js';
export { Trainer } from './trainer/trainer.js';
