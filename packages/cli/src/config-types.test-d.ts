// Type tests: the build checks them; they never run. A line under `@ts-expect-error` must not compile.
import type { PluginOptions, WrittenOptions } from '@whetstone/core/contract';
import { defineConfig, Trainer, untypedConfig, type TrainerConfig } from './index.js';

const pauseOptions = {
  type: 'object',
  additionalProperties: false,
  required: ['seconds', 'unit'],
  properties: { seconds: { type: 'number' }, unit: { enum: ['s', 'ms'], default: 's' } },
} as const;

declare module '@whetstone/core/contract' {
  interface PluginOptions {
    'callback @acme/whetstone-pause': WrittenOptions<typeof pauseOptions>;
    'optimizer ./lion.ts': { readonly beta?: number };
  }
}

const minimal = { model: 'smollm2-135m', data: { train: 'train.jsonl' }, strategy: 'lora' } as const;

export const everySection = defineConfig({
  model: { path: 'my-model', dtype: 'bfloat16' },
  backend: { name: 'cpu' },
  data: {
    train: ['a.jsonl', 'b.jsonl'],
    eval: { use: 'conversations', options: { path: 'eval.jsonl' } },
    maxLength: 256,
    transforms: ['normalize-text', { use: 'deduplicate', options: { onLeak: 'drop' } }],
  },
  evaluation: { metrics: ['chrf'] },
  strategy: { use: 'lora', options: { rank: 16, targetModules: 'all-linear' } },
  callbacks: [{ use: 'gradient-clipping', options: { maxNorm: 1 } }, 'early-stopping', './mine.ts'],
  loggers: ['metrics-jsonl'],
  optimizer: { use: 'adamw', learningRate: 5e-4, weightDecay: 0.01 },
  schedule: { use: 'cosine', warmupSteps: 0.05 },
  training: { maxSteps: 20, evalStrategy: 'ends' },
  output: { folder: 'runs/mine' },
});

export const constants: TrainerConfig = {
  ...minimal,
  callbacks: ['nan-guard'] as const,
  optimizer: { learningRate: 1e-4 },
};
export const stages = defineConfig({
  model: 'smollm2-135m',
  stages: [
    { name: 'general', data: { train: 'a.jsonl' }, strategy: 'full' },
    { data: { train: 'b.jsonl' }, strategy: { use: 'lora', options: { rank: 4 } }, optimizer: { learningRate: 1e-4 } },
  ],
});

// A configuration of a file is not typed.
export const parsed = new Trainer(JSON.parse('{}'));
const untyped: Readonly<Record<string, unknown>> = {};
export const unchecked = new Trainer(untypedConfig(untyped));
// @ts-expect-error an object of unknown contents must be marked
export const unmarked = new Trainer(untyped);

// @ts-expect-error a section is misspelled
export const misspelled = new Trainer({ ...minimal, trainnig: { maxSteps: 1 } });
// @ts-expect-error the learning rate is a text
export const wrongType = new Trainer({ ...minimal, optimizer: { learningRate: '5e-4' } });
// @ts-expect-error an option of the default optimizer is misspelled
export const wrongOption = new Trainer({ ...minimal, optimizer: { learningRate: 5e-4, weightDecai: 0.1 } });
// @ts-expect-error an option of the strategy is misspelled
export const wrongRank = new Trainer({ ...minimal, strategy: { use: 'lora', options: { rnk: 4 } } });
// @ts-expect-error an option of the strategy has a wrong type
export const textRank = new Trainer({ ...minimal, strategy: { use: 'lora', options: { rank: '4' } } });
// @ts-expect-error no strategy has this name
export const noStrategy = new Trainer({ ...minimal, strategy: 'lroa' });
// @ts-expect-error a callback is not a strategy
export const otherKind = new Trainer({ ...minimal, strategy: 'early-stopping' });
// @ts-expect-error a key of data is misspelled
export const wrongData = new Trainer({ ...minimal, data: { train: 'train.jsonl', maxLenght: 256 } });
// @ts-expect-error no such choice
export const wrongChoice = new Trainer({ ...minimal, training: { evalStrategy: 'sometimes' } });
// @ts-expect-error there is no model
export const noModel = new Trainer({ data: { train: 'train.jsonl' }, strategy: 'lora' });
// @ts-expect-error a stage has no output
export const wrongStage = defineConfig({ model: 'x', stages: [{ output: { folder: 'x' } }] });

// Options of others.
export const pause = defineConfig({
  ...minimal,
  callbacks: [{ use: '@acme/whetstone-pause', options: { seconds: 2 } }],
});
export const lion = defineConfig({ ...minimal, optimizer: { use: './lion.ts', learningRate: 1e-4, beta: 0.9 } });
const seconds = '2';
// @ts-expect-error an option has a wrong type
export const bad: TrainerConfig = { ...minimal, callbacks: [{ use: '@acme/whetstone-pause', options: { seconds } }] };
// @ts-expect-error an option is required
export const barePause = defineConfig({ ...minimal, callbacks: ['@acme/whetstone-pause'] });
// @ts-expect-error a package that declares no options
export const unknownPackage = defineConfig({ ...minimal, callbacks: ['@acme/unknown'] });

/** True if two types are identical. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
export const rankIsANumber: Same<PluginOptions['strategy lora']['rank'], number | undefined> = true;
