import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createTinyModel } from '../../packages/cli/src/tiny-model.js';
import type { Victim } from './processes.js';

/** A run that is killed. */
export interface Configuration {
  readonly config: object;
  /** The number of steps between evaluations, or of an epoch. */
  readonly evaluates: number;
  /** The number of processes; 1 by default. */
  readonly processes?: number;
  /** Which of several processes are killed, each in turn; all of them by default. */
  readonly victims?: readonly Victim[];
}

const row = (index: number, end = ''): string =>
  JSON.stringify({
    messages: [
      { role: 'user', content: `q${index}${'x'.repeat(index % 7)}` },
      { role: 'assistant', content: `a${(index * 7) % 11}${'ye'.repeat(index % 3)}${end}` },
    ],
  });
const rows = (from: number, to: number, end?: string): string =>
  `${Array.from({ length: to - from }, (_, index) => row(from + index, end)).join('\n')}\n`;

/** The folder of a project with what strategies keep for later runs. */
export const KEPT = 'kept';

/** Writes a tiny model and data into a folder, and `run.json` of a configuration, which writes to `run`. */
export async function writeProject(folder: string, { config }: Configuration): Promise<void> {
  await mkdir(join(folder, KEPT), { recursive: true });
  await createTinyModel(join(folder, 'tiny'), { hiddenSize: 16, layers: 2 });
  await writeFile(join(folder, 'train.jsonl'), rows(0, 12));
  await writeFile(join(folder, 'eval.jsonl'), rows(20, 23));
  await writeFile(join(folder, 'old.jsonl'), rows(40, 44, 'o'));
  await writeFile(join(folder, 'run.json'), `${JSON.stringify(config, null, 1)}\n`);
}

interface Sections {
  readonly data?: object;
  readonly training?: {
    readonly evalStrategy?: string;
    readonly saveStrategy?: string;
    readonly [key: string]: unknown;
  };
  readonly evaluates?: number;
  readonly [section: string]: unknown;
}

/** Eight steps of two conversations, with an evaluation every two and a checkpoint every three. */
function runOf({ data, training = {}, evaluates = 2, ...sections }: Sections): Configuration {
  const { evalStrategy = 'steps', saveStrategy = 'steps' } = training;
  const config = {
    model: 'tiny',
    backend: 'cpu',
    data: { train: 'train.jsonl', eval: 'eval.jsonl', maxLength: 64, leakage: 'off', ...data },
    callbacks: [{ use: 'gradient-clipping', options: { maxNorm: 0.5 } }],
    loggers: ['metrics-jsonl', 'tensorboard'],
    optimizer: { learningRate: 0.01 },
    training: {
      maxSteps: 8,
      perDeviceTrainBatchSize: 2,
      perDeviceEvalBatchSize: 4,
      evalStrategy,
      saveStrategy,
      ...(evalStrategy === 'steps' ? { evalSteps: 2 } : {}),
      ...(saveStrategy === 'steps' ? { saveSteps: 3 } : {}),
      loggingSteps: 3,
      ...training,
    },
    output: { folder: 'run' },
    ...sections,
  };
  return { config, evaluates };
}

const lora = (options: object = {}): object => ({ use: 'lora', options: { rank: 2, ...options } });
const earlyStopping = (options: object): object => ({ use: 'early-stopping', options });
const best = { loadBestModelAtEnd: true, saveTotalLimit: 1 };
const epochs = { maxSteps: -1, numTrainEpochs: 2, evalStrategy: 'epoch', saveStrategy: 'epoch' };

/** One stage. The shared sections are those of {@link runOf}. */
const stage = (name: string, strategy: unknown, train: string): object => ({ name, strategy, data: { train } });

const twoProcesses = runOf({
  strategy: lora(),
  backend: 'whetstone',
  callbacks: ['gradient-clipping', earlyStopping({ patience: 9 })],
});

/** Together they have every built-in strategy, callback and logger, packing, stages and several processes. */
export const configurations: Readonly<Record<string, Configuration>> = {
  'all parameters, best model': runOf({ strategy: 'full', training: best }),
  'all parameters in bfloat16': runOf({
    strategy: { use: 'full', options: { weights: 'bfloat16' } },
    callbacks: ['gradient-clipping', { use: 'nan-guard', options: { action: 'skip' } }],
  }),
  'layers that are unfrozen, SGD': runOf({
    strategy: { use: 'frozen-layers', options: { trainLastLayers: 1, unfreezeEverySteps: 3 } },
    optimizer: { use: 'sgd', learningRate: 0.1, momentum: 0.9 },
    training: { gradientAccumulationSteps: 2, maxSteps: 6 },
  }),
  'LoRA, packed, early stopping': runOf({
    strategy: lora({ dropout: 0.2 }),
    data: { packing: true },
    // No evaluation improves by this threshold: the third one ends the run, which restores the weights of the first.
    callbacks: ['gradient-clipping', earlyStopping({ patience: 2, threshold: 100 })],
    training: { saveSteps: 1, maxSteps: 12 },
  }),
  'DoRA with rsLoRA and LoRA+, epochs': runOf({
    strategy: lora({ useDora: true, useRslora: true, loraPlusRatio: 4, initLoraWeights: 'gaussian' }),
    evaluates: 6,
    training: epochs,
  }),
  'PiSSA, mean training loss': runOf({
    strategy: lora({ initLoraWeights: 'pissa' }),
    callbacks: [
      { use: 'gradient-clipping', options: { mode: 'adaptive' } },
      earlyStopping({ metric: 'trainLoss', trainLossWindow: 2, patience: 9 }),
    ],
    training: { evalStrategy: 'no' },
  }),
  'QLoRA in 4 bits': runOf({ strategy: { use: 'qlora', options: { rank: 2, quantType: 'nf4' } } }),
  'QLoRA in 8 bits, padded': runOf({
    strategy: { use: 'qlora', options: { rank: 2, quantType: 'int8', dropout: 0.1 } },
    data: { paddingFree: false },
    schedule: { use: 'cosine', warmupSteps: 2 },
  }),
  'prefixes through a projection': runOf({
    strategy: { use: 'p-tuning-v2', options: { virtualTokens: 3, projection: true } },
    training: { loadBestModelAtEnd: true },
  }),
  'virtual tokens': runOf({
    strategy: { use: 'p-tuning-v2', options: { virtualTokens: 3, depth: 'input', init: 'vocabulary' } },
  }),
  'elastic weight consolidation': runOf({
    strategy: lora(),
    companions: [
      { use: 'ewc', options: { data: 'old.jsonl', lambda: 100, reportEverySteps: 2, fisherFile: 'kept/fisher' } },
    ],
  }),
  replay: runOf({
    strategy: lora(),
    companions: [
      { use: 'replay', options: { data: 'old.jsonl', ratio: 0.3, priority: 'loss', bufferFile: 'kept/buffer' } },
    ],
    evaluates: 9,
    training: { ...epochs, saveStrategy: 'steps' },
  }),
  // The buffer is written after six steps, the first checkpoint after nine.
  'a replay buffer before the first checkpoint': runOf({
    strategy: lora(),
    companions: [{ use: 'replay', options: { ratio: 0.3, bufferFile: 'kept/buffer', bufferSize: 8 } }],
    evaluates: 9,
    training: { ...epochs, saveStrategy: 'steps', saveSteps: 9 },
  }),
  // In the second stage, the buffer has the rows of the first one, and in a resumed second stage no other rows.
  'stages that share files of companions': runOf({
    stages: [stage('one', lora(), 'old.jsonl'), stage('two', lora(), 'train.jsonl')],
    companions: [
      { use: 'replay', options: { ratio: 0.3, bufferFile: 'kept/buffer', bufferSize: 8 } },
      { use: 'ewc', options: { data: 'eval.jsonl', lambda: 100, fisherFile: 'kept/fisher' } },
    ],
    data: { eval: null },
    training: { maxSteps: -1, numTrainEpochs: 2, evalStrategy: 'no', saveSteps: 8 },
  }),
  'hard samples': runOf({
    strategy: 'full',
    companions: [{ use: 'hard-samples', options: { ratio: 0.3, everyBatches: 2 } }],
    training: { maxSteps: -1, numTrainEpochs: 2 },
  }),
  'repetition penalty, metrics of replies': runOf({
    strategy: lora(),
    callbacks: [
      {
        use: 'repetition-penalty',
        options: { diversity: 0.1, generated: { maxNewTokens: 3, pool: 2, everySteps: 3, perMicrobatch: 1 } },
      },
      { use: 'nan-guard', options: { action: 'stop', lossThreshold: 1000, patience: 2 } },
    ],
    evaluation: { metrics: ['chrf', 'distinct-n'], replies: 2, maxNewTokens: 3 },
    training: { maxSteps: 6, evalStrategy: 'ends' },
  }),
  'stages with the same strategy': runOf({
    stages: [stage('one', lora(), 'old.jsonl'), stage('two', lora(), 'train.jsonl')],
    training: { maxSteps: 4, loadBestModelAtEnd: true },
  }),
  'stages with different strategies': runOf({
    stages: [stage('one', lora(), 'old.jsonl'), stage('two', 'full', 'train.jsonl')],
    training: { maxSteps: 4, saveSteps: 2 },
  }),
  'two processes': { ...twoProcesses, processes: 2 },
  'one of two processes, or their launcher': {
    ...twoProcesses,
    processes: 2,
    victims: ['worker 1', 'launcher', 'worker 0'],
  },
};
