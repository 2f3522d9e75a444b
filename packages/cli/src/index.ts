/**
 * Whetstone in one import: the Trainer with everything that is built in, and what goes before and after a run.
 * Those who compose their own take `@whetstone/core` and the packages they want.
 */
export * from '@whetstone/core';
export {
  cacheFolder,
  createBackendResolver,
  findTensorflow,
  installTensorflow,
  publishedModels,
  resolveBackend,
  type InstallOptions,
  type InstallProgress,
} from '@whetstone/backend';
export {
  generateReply,
  generateText,
  importGguf,
  loadModel,
  saveModelFolder,
  type GenerationOptions,
} from '@whetstone/models';
export { createAdapterSet, loadAdapter, mergeAdapter, readAdapterFolder } from '@whetstone/strategies';
export { builtInPlugins, builtInServices } from './built-ins.js';
export { fetchedModelFolder, fetchedModels, fetchModel, findModelFolder } from './fetched-models.js';
export { openModel, putAdapter, type OpenModel, type OpenModelOptions } from './open-model.js';
export { createTinyModel, type TinyModelOptions } from './tiny-model.js';
export { configDefaults, Trainer, withBuiltIns } from './trainer.js';
