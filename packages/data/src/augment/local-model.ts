import { existsSync } from 'node:fs';
import path from 'node:path';
import { WhetstoneError } from '@whetstone/core/contract';
import type { PluginContext, TextGenerator } from '@whetstone/core/contract';
import { answerFrom, type Ask } from './answer-cache.js';

export interface LocalModelOptions {
  /** A model folder, or the name of a fetched model. */
  readonly model: string;
  readonly temperature: number;
  readonly cacheFolder: string;
}

/** A model on this machine that answers, loaded with the first question that the cache does not answer. */
export interface LocalModel {
  readonly ask: Ask;
  /** Lets go of the model; the next question loads it anew. */
  close(): void;
}

/**
 * Makes a function that asks a model of this machine.
 *
 * @throws PLUGIN_FAILED from the function, where the run cannot load models
 */
export function createLocalModel(
  { model, temperature, cacheFolder }: LocalModelOptions,
  { openGenerator, baseFolder, seed }: Pick<PluginContext, 'openGenerator' | 'baseFolder' | 'seed'>,
): LocalModel {
  const file = path.resolve(baseFolder, model);
  const place = existsSync(file) ? file : model;
  let opened: TextGenerator | null = null;
  return {
    ask: (prompt) =>
      answerFrom(cacheFolder, ['local', place, temperature, seed, prompt], async () => {
        if (openGenerator === undefined)
          throw new WhetstoneError('PLUGIN_FAILED', 'Nothing here can load a model to paraphrase with.', {
            hint: 'Give an "endpoint", or run it with the trainer or the command of the package "whetstone".',
          });
        opened ??= await openGenerator(place);
        return (await opened.generate(prompt, { temperature, seed })).trim();
      }),
    close: () => {
      opened?.dispose();
      opened = null;
    },
  };
}
