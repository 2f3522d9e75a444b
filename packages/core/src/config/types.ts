import type { BatchOptions, Json, QualityGate } from '../contract/index.js';

/** A plugin as a configuration asks for it, its options validated and defaulted. */
export interface PluginUse {
  /** A built-in name, an npm package's name, or a local file as `./my-callback.ts`. */
  readonly use: string;
  readonly options: Readonly<Record<string, Json>>;
}

/** A plugin whose options stand beside `use` instead of under `options`: optimizer and schedule. */
export interface FlatPluginUse {
  readonly use: string;
  readonly [option: string]: Json;
}

/** `path` is absolute where a file or folder of that name exists, else the name of a fetched model. */
interface ModelConfig {
  /** Null for the registered `MODEL_LOADER`. */
  readonly use: string | null;
  readonly path: string | null;
  /** How weights are kept on the device. `auto`: as the file has them, where that is bfloat16. */
  readonly dtype: 'float32' | 'bfloat16' | 'auto';
  /** Tokens that the vocabulary gets, where it has them not. */
  readonly addTokens: readonly string[];
  readonly options: Readonly<Record<string, Json>>;
}

export interface BackendConfig {
  /** `auto`, `whetstone`, `tensorflow`, `wasm`, `cpu`, or whatever else the backend resolver knows. */
  readonly name: string;
  /** `tensorflow` or `xla` within `whetstone`; null for what suits the machine. */
  readonly engine?: string | null;
  readonly threads: number | null;
  /** How many devices of one engine make a step together; null for one. */
  readonly devices?: number | null;
  /** In which numbers matrices are multiplied. */
  readonly matmul: 'float32' | 'bfloat16';
}

type LeakagePolicy = 'error' | 'warn' | 'off';

interface DataConfig {
  readonly train: PluginUse;
  readonly eval: PluginUse | null;
  /** What happens to the conversations before they are rendered, in this order. */
  readonly transforms: readonly PluginUse[];
  readonly maxLength: number | null;
  readonly truncationMode: BatchOptions['truncationMode'];
  readonly assistantOnlyLoss: boolean;
  /** Null as true: TRL's way to say that pairs decide. */
  readonly completionOnlyLoss: boolean | null;
  readonly rolesToTrain: readonly string[];
  readonly lastTurnOnly: boolean;
  readonly roleWeights: BatchOptions['roleWeights'];
  readonly shuffleDataset: boolean;
  readonly trainSamplingStrategy: BatchOptions['samplingStrategy'];
  readonly packing: boolean;
  readonly packingStrategy: BatchOptions['packingStrategy'];
  readonly tokensPerBatch: number | null;
  readonly balance: BatchOptions['balance'];
  readonly curriculum: BatchOptions['curriculum'];
  readonly paddingFree: boolean;
  readonly padToMultipleOf: number | null;
  readonly unreadableRows: BatchOptions['unreadableRows'];
  readonly samplesWithoutTargets: BatchOptions['samplesWithoutTargets'];
  readonly supervisionProof: BatchOptions['supervisionProof'];
  readonly leakage: LeakagePolicy | { readonly policy?: LeakagePolicy; readonly threshold?: number };
  /** What the training data must keep to; null: nothing. */
  readonly qualityGate: QualityGate | null;
  readonly workers: number | null;
}

/** What is measured besides the loss, on the model's own answers. */
interface EvaluationConfig {
  readonly metrics: readonly PluginUse[];
  /** Conversations that are answered, at most. */
  readonly replies: number;
  readonly maxNewTokens: number;
}

interface OptimizerConfig extends FlatPluginUse {
  /** The base rate; the schedule multiplies it. */
  readonly learningRate: number;
}

export interface TrainingConfig {
  readonly numTrainEpochs: number;
  /** -1: as many as the epochs take. */
  readonly maxSteps: number;
  readonly perDeviceTrainBatchSize: number;
  readonly perDeviceEvalBatchSize: number;
  readonly gradientAccumulationSteps: number;
  readonly seed: number;
  /** Null: `seed`. */
  readonly dataSeed: number | null;
  readonly loggingSteps: number;
  readonly evalStrategy: 'no' | 'steps' | 'epoch' | 'ends';
  /** Null: `loggingSteps`. */
  readonly evalSteps: number | null;
  readonly saveStrategy: 'no' | 'steps' | 'epoch' | 'end';
  /** Below 1: a ratio of all steps. */
  readonly saveSteps: number;
  readonly saveTotalLimit: number | null;
  readonly loadBestModelAtEnd: boolean;
  readonly metricForBestModel: string;
  /** Null: by the metric's name. */
  readonly greaterIsBetter: boolean | null;
  /** True: the newest whole checkpoint of the output folder; a string: that checkpoint's absolute path. */
  readonly resumeFromCheckpoint: string | boolean | null;
  /** What may be another than when the checkpoint was written. */
  readonly resumeDespite: readonly ('data' | 'template')[];
  /** Seconds that a worker waits for the others. */
  readonly ddpTimeout: number;
  /** MiB of gradients that are summed over the workers at a time. */
  readonly ddpBucketCapMb: number;
}

interface OutputConfig {
  /** Absolute, or null for a run that writes nothing. */
  readonly folder: string | null;
  readonly overwrite: boolean;
}

/**
 * A configuration after validation: every default filled in, every path absolute, deeply frozen. What all of the engine
 * reads.
 */
export interface ResolvedConfig {
  /** Absolute: where the relative paths in plugins' options start. */
  readonly baseFolder: string;
  readonly model: ModelConfig;
  readonly chatTemplatePath: string | null;
  readonly backend: BackendConfig;
  readonly data: DataConfig;
  readonly evaluation: EvaluationConfig;
  readonly strategy: PluginUse;
  readonly companions: readonly PluginUse[];
  readonly callbacks: readonly PluginUse[];
  readonly loggers: readonly PluginUse[];
  readonly optimizer: OptimizerConfig;
  readonly schedule: FlatPluginUse;
  readonly training: TrainingConfig;
  readonly output: OutputConfig;
  /** Where a run has stages: each as a configuration of its own. */
  readonly stages?: readonly { readonly name: string; readonly config: ResolvedConfig }[];
}
