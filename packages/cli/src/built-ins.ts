import { join } from 'node:path';
import { cacheFolder, createBackendResolver } from '@whetstone/backend';
import { BACKEND_RESOLVER, BATCH_SOURCE_FACTORY, MODEL_LOADER, type ModelLoader, type Plugin } from '@whetstone/core/contract';
import { corePlugins, provide, type ServiceRegistration } from '@whetstone/core';
import { createBatchSourceFactory, dataPlugins } from '@whetstone/data';
import { loadModel, modelPlugins, readOutline } from '@whetstone/models';
import { plugins } from '@whetstone/plugins';
import { strategies } from '@whetstone/strategies';
import { findModelFolder } from './fetched-models.js';

/** Every plugin that comes with Whetstone. */
export const builtInPlugins: readonly Plugin[] = [...corePlugins, ...modelPlugins, ...dataPlugins, ...strategies, ...plugins];

/** Loads Hugging Face folders, and fetched models by their names. */
export const folderModelLoader: ModelLoader = {
  load: async (model, options) => loadModel(await findModelFolder(model), options),
  outline: async (model) => readOutline(await findModelFolder(model)),
};

/** The services that a run has unless others are registered in their place. */
export const builtInServices: readonly ServiceRegistration[] = [
  provide(BACKEND_RESOLVER, createBackendResolver()),
  provide(MODEL_LOADER, folderModelLoader),
  provide(BATCH_SOURCE_FACTORY, createBatchSourceFactory({ cacheFolder: join(cacheFolder(), 'tokenized') })),
];
