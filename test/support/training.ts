import { folderCheckpoints } from '@whetstone/core/checkpoint';
import { singleWorker } from '@whetstone/core/distributed';
import { runTraining, type TrainRun } from '@whetstone/core/training';
import { createHookRunner } from '@whetstone/core/hooks';
import { createAdamW } from '@whetstone/core/optimizers';
import type {
  Batch,
  BatchSource,
  ConsumedBatches,
  Callback,
  LanguageModel,
  LoadedModel,
  RunReport,
  StepReport,
  Strategy,
  TensorBackendInfo,
} from '@whetstone/core/contract';
import { createRandomModel } from '@whetstone/models';
import { batchOf as batchOfRows, batchSourceOf, randomRows, testRandom } from '@whetstone/testing';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';

/** config.json of a model small enough for every test. */
export const tinyLlama = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  vocab_size: 48,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 4,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  rope_theta: 10_000,
  hidden_act: 'silu',
  tie_word_embeddings: false,
  initializer_range: 0.2,
  attention_bias: false,
  mlp_bias: false,
} as const;

export const tinyModel = (seed = 1): LanguageModel => createRandomModel(tinyLlama, seed);

/** What the engine uses of a loaded model: the model and the renderer's hash. */
export function loadedOf(model: LanguageModel): LoadedModel {
  const unused = (): never => {
    throw new Error('The engine renders and tokenises nothing.');
  };
  const tokenizer = {
    vocabularySize: 48,
    bosTokenId: null,
    eosTokenId: null,
    padTokenId: null,
    encode: unused,
    encodeWithSpans: unused,
    decode: unused,
    tokenId: unused,
  };
  return { model, tokenizer, renderer: { hash: 'test', stopTokenIds: [], render: unused, renderPrompt: unused } };
}

/** Batches of random rows in another order each epoch, as the data package serves them. */
export function shuffledSource(rowCount: number, batchSize: number, seed = 3): BatchSource {
  const rows = randomRows(rowCount, tinyLlama.vocab_size, seed);
  const plain = batchSourceOf(rows, batchSize);
  /** The number of rows that were consumed in other batches: always the first ones. */
  const rowsIn = (consumed: readonly ConsumedBatches[]): number =>
    Math.max(0, ...consumed.flatMap(({ batchSize: size, ranges }) => ranges.map(({ end }) => end * size)));
  return {
    ...plain,
    batchesLeft: (_, consumed) => plain.batchesPerEpoch - Math.floor(Math.min(rowCount, rowsIn(consumed)) / batchSize),
    epoch(epoch, { skip = 0, consumed = [] } = {}) {
      const random = testRandom(seed + 100 * epoch);
      const order = rows
        .map((row) => ({ row, key: random() }))
        .toSorted((a, b) => a.key - b.key)
        .map(({ row }) => row);
      const batches: Batch[] = [];
      for (let begin = 0; begin < order.length; begin += batchSize)
        batches.push(batchOfRows(order.slice(Math.max(begin, rowsIn(consumed)), begin + batchSize)));
      return batches.slice(Math.max(skip, Math.floor(rowsIn(consumed) / batchSize)));
    },
  };
}

export interface TestRunOptions {
  readonly training?: Partial<TrainRun['config']['training']>;
  readonly learningRate?: number;
  readonly model?: LanguageModel;
  readonly strategy?: Strategy;
  readonly companions?: readonly Strategy[];
  readonly callbacks?: readonly Callback[];
  readonly trainData?: BatchSource;
  readonly evalData?: BatchSource | null;
  readonly outputFolder?: string | null;
  readonly signal?: AbortSignal;
  readonly warn?: (message: string) => void;
  readonly backend?: TensorBackendInfo;
}

/** A run composed by hand: real model, strategy, hooks, optimizer; AdamW at a constant rate. */
export function testRun(options: TestRunOptions = {}): TrainRun {
  const { learningRate = 0.01, outputFolder = null } = options;
  const unused = { use: 'unused', options: {} };
  const log = (): void => undefined;
  const optimizer = createAdamW({ weightDecay: 0.01, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
  const started = performance.now();
  return {
    config: {
      baseFolder: '/',
      model: { use: null, path: null, dtype: 'float32', addTokens: [], options: {} },
      chatTemplatePath: null,
      backend: { name: 'cpu', devices: null, threads: null, matmul: 'float32' },
      data: {
        train: unused,
        eval: null,
        evalShare: null,
        transforms: [],
        maxLength: null,
        truncationMode: 'keep_start',
        assistantOnlyLoss: true,
        completionOnlyLoss: true,
        rolesToTrain: ['assistant'],
        lastTurnOnly: false,
        roleWeights: {},
        shuffleDataset: true,
        trainSamplingStrategy: 'random',
        packing: false,
        packingStrategy: 'bfd',
        tokensPerBatch: null,
        balance: null,
        curriculum: null,
        paddingFree: true,
        padToMultipleOf: null,
        unreadableRows: 'error',
        samplesWithoutTargets: 'error',
        supervisionProof: 'error',
        leakage: 'warn',
        qualityGate: null,
        workers: null,
      },
      evaluation: { metrics: [], replies: 32, maxNewTokens: 128 },
      strategy: unused,
      companions: [],
      callbacks: [],
      loggers: [],
      optimizer: { use: 'adamw', learningRate },
      schedule: { use: 'constant' },
      training: {
        numTrainEpochs: 1,
        maxSteps: -1,
        perDeviceTrainBatchSize: 2,
        perDeviceEvalBatchSize: 2,
        gradientAccumulationSteps: 1,
        seed: 42,
        dataSeed: null,
        loggingSteps: 1,
        evalStrategy: 'no',
        evalSteps: null,
        saveStrategy: 'no',
        saveSteps: 500,
        saveTotalLimit: null,
        loadBestModelAtEnd: false,
        metricForBestModel: 'loss',
        greaterIsBetter: null,
        resumeFromCheckpoint: null,
        resumeDespite: [],
        maxRollbacks: 3,
        ddpTimeout: 1800,
        ddpBucketCapMb: 25,
        ...options.training,
      },
      output: { folder: outputFolder, overwrite: false },
    },
    loaded: loadedOf(options.model ?? tinyModel()),
    trainData: options.trainData ?? shuffledSource(12, 2),
    evalData: options.evalData ?? null,
    owner: { plugin: 'full', instance: options.strategy ?? fullStrategy() },
    companions: (options.companions ?? []).map((instance, index) => ({ plugin: `companion-${index}`, instance })),
    hooks: createHookRunner(
      (options.callbacks ?? []).map((callback, index) => ({ plugin: `callback-${index}`, callback })),
    ),
    optimizer: { plugin: 'adamw', instance: optimizer },
    schedule: { plugin: 'constant', instance: () => () => 1 },
    backend: options.backend ?? { backend: 'cpu', engine: 'cpu', reason: 'a test', barrier: () => undefined },
    checkpoints: folderCheckpoints,
    clock: { now: () => (performance.now() - started) / 1000, timestamp: () => new Date().toISOString() },
    random: { seed: 42, dataSeed: 42 },
    logger: { debug: log, info: log, warn: log, error: log },
    signal: options.signal ?? new AbortController().signal,
    outputFolder,
    workers: singleWorker,
    warn: options.warn ?? log,
    checkUnusedKeys: () => undefined,
  };
}

/** Trains to the end. */
export async function train(run: TrainRun): Promise<{ readonly reports: StepReport[]; readonly report: RunReport }> {
  const reports: StepReport[] = [];
  const iterator = runTraining(run);
  for (;;) {
    const next = await iterator.next();
    if (next.done === true) return { reports, report: next.value };
    reports.push(next.value);
  }
}

/** Releases what a run holds, as the trainer does. */
export function disposeRun(run: TrainRun): void {
  run.optimizer.instance.dispose();
  run.hooks.dispose();
  run.loaded.model.dispose();
}

/** The values of all parameters by name, as they are now. */
export async function valuesOf(model: LanguageModel): Promise<Record<string, number[]>> {
  const values: Record<string, number[]> = {};
  for (const [name, parameter] of model.parameters) values[name] = Array.from(await parameter.data());
  return values;
}
