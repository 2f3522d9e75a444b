import { join } from 'node:path';
import { cacheFolder } from '@whetstone/backend/install';
import {
  BACKEND_RESOLVER,
  BATCH_SOURCE_FACTORY,
  corePlugins,
  LOSS_METERS,
  MODEL_LOADER,
  provide,
  REPLY_GENERATOR,
  TEXT_GENERATORS,
  type ServiceRegistration,
} from '@whetstone/core';
import type {
  BatchSourceFactory,
  LoadedModel,
  LossMeter,
  ModelLoader,
  Plugin,
  ReplyGenerator,
  TensorBackendInfo,
  TextGenerator,
} from '@whetstone/core/contract';
import { dataPlugins } from '@whetstone/data/plugins';
import { metrics } from '@whetstone/evaluation/plugins';
import type { GenerationOptions } from '@whetstone/models';
import { modelPlugins } from '@whetstone/models/plugins';
import { plugins } from '@whetstone/plugins/plugins';
import { strategies } from '@whetstone/strategies/plugins';
import { findModelFolder } from './fetched-models.js';
import {
  collectText,
  createBackendResolver,
  generateReply,
  generateText,
  loadModel,
  readOutline,
} from './on-demand.js';

/** All plugins that come with Whetstone. */
export const builtInPlugins: readonly Plugin[] = [
  ...corePlugins,
  ...modelPlugins,
  ...dataPlugins,
  ...strategies,
  ...plugins,
  ...metrics,
];

/** Loads Hugging Face folders, and fetched models by their names. */
const folderModelLoader: ModelLoader = {
  load: async (model, options) => loadModel(await findModelFolder(model), options),
  outline: async (model) => readOutline(await findModelFolder(model)),
};

/** Loads a model by its folder or name for single replies. A backend must have been chosen. */
export async function openGenerator(model: string): Promise<TextGenerator> {
  const loaded = await loadModel(await findModelFolder(model));
  return {
    generate: async (prompt, { temperature, seed }) =>
      (
        await collectText(
          generateReply(loaded, [{ role: 'user', content: prompt }], { temperature, seed, maxNewTokens: 256 }),
          1,
        )
      ).join(''),
    dispose: () => loaded.model.dispose(),
  };
}

/** Opens a loss meter for a model by its folder or name, or for a loaded one, which stays open. */
export async function openLossMeter(model: string | LoadedModel, backend: TensorBackendInfo): Promise<LossMeter> {
  const { createLossMeter } = await import('./loss-meter.js');
  const loaded = typeof model === 'string' ? await loadModel(await findModelFolder(model)) : model;
  return {
    measure: createLossMeter({ ...loaded, backend }, loaded.model.maxLength),
    dispose: () => {
      if (typeof model === 'string') loaded.model.dispose();
    },
  };
}

/** Generates replies to several conversations in one batch: greedily, or as `sampling` says. */
export const replyGenerator =
  (sampling: Omit<GenerationOptions, 'maxNewTokens'> = { temperature: 0 }): ReplyGenerator =>
  (loaded, conversations, { maxNewTokens, signal }) =>
    collectText(
      generateText(
        loaded,
        conversations.map(({ messages, tools, templateVariables }) =>
          loaded.renderer.renderPrompt(messages, tools, templateVariables),
        ),
        { ...sampling, maxNewTokens },
        signal,
      ),
      conversations.length,
    );

/** Loads the batching code when the first data is prepared, and shares one factory among all data of a run. */
function createLazyBatchSourceFactory(): BatchSourceFactory {
  let factory: Promise<Required<BatchSourceFactory>> | null = null;
  const load = async (): Promise<Required<BatchSourceFactory>> => {
    const { createBatchSourceFactory } = await import('@whetstone/data/batches');
    return createBatchSourceFactory({ cacheFolder: join(cacheFolder(), 'tokenized') });
  };
  return {
    create: async (...inputs) => {
      factory ??= load();
      return (await factory).create(...inputs);
    },
    split: async (options) => {
      factory ??= load();
      return (await factory).split(options);
    },
  };
}

/** The default services of a run. Register others under the same tokens to replace them. */
export const builtInServices: readonly ServiceRegistration[] = [
  provide(BACKEND_RESOLVER, createBackendResolver()),
  provide(MODEL_LOADER, folderModelLoader),
  provide(TEXT_GENERATORS, openGenerator),
  provide(LOSS_METERS, openLossMeter),
  provide(REPLY_GENERATOR, replyGenerator()),
  provide(BATCH_SOURCE_FACTORY, createLazyBatchSourceFactory()),
];
