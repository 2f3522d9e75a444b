import {
  EVAL_DATA,
  LOGGER,
  MODEL_LOADER,
  provide,
  TENSOR_BACKEND,
  TRAIN_DATA,
  Trainer,
  type ServiceRegistration,
  type TrainerOptions,
} from '@whetstone/core';
import type { Logger, Plugin } from '@whetstone/core/contract';
import { dataPlugins } from '@whetstone/data';
import { plugins } from '@whetstone/plugins';
import { strategies } from '@whetstone/strategies';
import { loadedOf, shuffledSource, tinyModel } from '../support/training.js';

export const builtIns: readonly Plugin[] = [...dataPlugins, ...strategies, ...plugins];

/** A logger that records its messages with their levels. */
export function recordingLogger(): Logger & { readonly lines: string[] } {
  const lines: string[] = [];
  const at = (level: string) => (message: string) => void lines.push(`${level}: ${message}`);
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** Twelve random rows in batches of two, six steps per epoch, and a tiny model of a real architecture. */
export const tinyServices = (): readonly ServiceRegistration[] => [
  provide(TENSOR_BACKEND, { backend: 'cpu', engine: 'cpu', reason: 'a test', barrier: () => undefined }),
  provide(MODEL_LOADER, { load: async () => loadedOf(tinyModel()) }),
  provide(TRAIN_DATA, shuffledSource(12, 2)),
  provide(EVAL_DATA, shuffledSource(4, 2, 9)),
  provide(LOGGER, recordingLogger()),
];

export const tinyConfig = {
  model: 'tiny',
  data: { train: 'unused.jsonl', eval: 'unused.jsonl', shuffleDataset: false },
  strategy: 'full',
  callbacks: [] as unknown[],
  loggers: [] as unknown[],
  optimizer: { learningRate: 0.01 },
  training: { numTrainEpochs: 1, saveStrategy: 'no' } as Record<string, unknown>,
};

export function tinyTrainer(more: object = {}, options: TrainerOptions = {}): Trainer {
  return new Trainer(
    { ...tinyConfig, ...more },
    {
      plugins: builtIns,
      defaults: { dataSource: 'conversations' },
      ...options,
      services: [...tinyServices(), ...(options.services ?? [])],
    },
  );
}
