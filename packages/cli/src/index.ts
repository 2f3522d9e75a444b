/**
 * Whetstone in one import: the Trainer with everything that is built in, and what goes before and after a run. Programs
 * that compose their own trainer import `@whetstone/core` and the packages they need.
 *
 * @module whetstone
 */
export * from '@whetstone/core';
export { findTensorflow, installTensorflow, type InstallOptions } from '@whetstone/backend/install';
export type { GenerationOptions } from '@whetstone/models';
export { builtInPlugins } from './built-ins.js';
export { fetchModel, findModelFolder } from './fetched-models.js';
export { evaluate, generateReply, generateText } from './on-demand.js';
export { openModel, putAdapter, type OpenModel, type OpenModelOptions } from './open-model.js';
export { createTinyModel, type TinyModelOptions } from './tiny-model.js';
export { Trainer } from './trainer.js';
