/**
 * Whetstone in one import: the Trainer with all built-in plugins, and functions for the time before and after a run.
 * Programs
 * that compose their own trainer import `@whetstone/core` and the packages they need.
 *
 * @module whetstone
 */
export { BACKEND_RESOLVER, isWhetstoneError, LOADED_MODEL, LOGGER } from '@whetstone/core/contract';
export { provide } from '@whetstone/core';
export { findTensorflow, installTensorflow } from '@whetstone/backend/install';
export { fetchModel, findModelFolder } from './fetched-models.js';
export { evaluate, generateReply, generateText } from './on-demand.js';
export { openModel, putAdapter } from './open-model.js';
export { createTinyModel } from './tiny-model.js';
export type { TrainerConfig } from './config-types.js';
export { defineConfig, Trainer, untypedConfig } from './trainer.js';
