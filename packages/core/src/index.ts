/**
 * Composes and runs trainings: the Trainer, and the services that a run is made of, with their tokens. Plugins are
 * written against `@whetstone/core/contract`; what programs need of it as well is exported here too.
 *
 * @module @whetstone/core
 */
export {
  BACKEND_RESOLVER,
  BATCH_SOURCE_FACTORY,
  CLOCK,
  definePlugin,
  defineToken,
  EVAL_DATA,
  formatError,
  isWhetstoneError,
  LOADED_MODEL,
  LOGGER,
  MODEL_LOADER,
  REPLY_GENERATOR,
  TENSOR_BACKEND,
  TEXT_GENERATORS,
  TRAIN_DATA,
  WhetstoneError,
  type Callback,
  type Clock,
  type EvaluationReport,
  type Logger,
  type Plugin,
  type RunReport,
  type StepReport,
  type Token,
} from './contract/index.js';
export { CHECKPOINT_STORE, type CheckpointStore } from './checkpoint/store.js';
export type { ConfigDefaults, Override, ResolvedConfig } from './config/index.js';
export {
  inject,
  injectable,
  provide,
  provideClass,
  provideFactory,
  type ServiceRegistration,
  type Services,
} from './container.js';
export { corePlugins } from './core-plugins.js';
export { CLUSTER, type ClusterSource } from './distributed/cluster.js';
export type { TrainerEvent, TrainerListener } from './events.js';
export { later, type SharedModules } from './plugins/shared-modules.js';
export type { TrainerOptions } from './trainer/options.js';
export { Trainer, type RunOptions } from './trainer/trainer.js';
