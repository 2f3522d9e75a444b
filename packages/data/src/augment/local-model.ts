import path from 'node:path';
import { WhetstoneError } from '@whetstone/core/contract';
import type { PluginContext, TextGenerator } from '@whetstone/core/contract';
import { exists } from '@whetstone/core/files';
import { answerFrom, type AnsweringModel } from './answer-cache.js';
import type { RequestObserver } from './chat-endpoint.js';
import type { ParaphraseOptions } from './options.js';

/**
 * Creates a model on this machine. It answers one prompt after the other.
 *
 * @throws `PLUGIN_FAILED` from `ask`, if the program cannot load models
 */
export function createLocalModel(
  { model, temperature, cacheFolder }: Pick<ParaphraseOptions, 'model' | 'temperature' | 'cacheFolder'>,
  { openGenerator, baseFolder, seed }: Pick<PluginContext, 'openGenerator' | 'baseFolder' | 'seed'>,
  observer: Pick<RequestObserver, 'answered'>,
): AnsweringModel {
  const file = path.resolve(baseFolder, model);
  const source = exists(file) ? file : model;
  let opened: TextGenerator | null = null;
  return {
    ask: (prompt) =>
      answerFrom(cacheFolder, ['local', source, temperature, seed, prompt], async () => {
        if (openGenerator === undefined)
          throw new WhetstoneError('PLUGIN_FAILED', 'This program cannot load a model for paraphrases.', {
            hint: 'Set "endpoint", or use the trainer or the command-line tool of the package "whetstone".',
          });
        opened ??= await openGenerator(source);
        const answer = await opened.generate(prompt, { temperature, seed });
        observer.answered();
        return answer.trim();
      }),
    close: () => {
      opened?.dispose();
      opened = null;
    },
  };
}
