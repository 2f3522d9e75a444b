import type { FromSchema, Json } from '../contract/index.js';
import type { backendOptions, dataOptions, evaluationOptions, output, training } from './frame-schema.js';

/** A plugin that a configuration selects, with validated options and their defaults. */
export interface PluginUse {
  /** The name of a built-in plugin or an npm package, or a local file, for example `./my-callback.ts`. */
  readonly use: string;
  readonly options: Readonly<Record<string, Json>>;
}

/** A plugin whose options are next to `use` instead of under `options`: optimizer and schedule. */
export interface FlatPluginUse {
  readonly use: string;
  readonly [option: string]: Json;
}

/** The type of an object with these properties. Types and defaults of options are defined in `frame-schema.ts` only. */
type Options<P> = FromSchema<{ readonly type: 'object'; readonly properties: P }>;

interface ModelConfig {
  /** The plugin that loads the model; null for the registered `MODEL_LOADER`. */
  readonly use: string | null;
  /** An absolute path if the folder exists, otherwise the name of a fetched model. */
  readonly path: string | null;
  /** The format of the weights on the device. `auto`: bfloat16 for weights that the file stores as bfloat16. */
  readonly dtype: 'float32' | 'bfloat16' | 'auto';
  /** Tokens to add to the vocabulary if it lacks them. */
  readonly addTokens: readonly string[];
  readonly options: Readonly<Record<string, Json>>;
}

export type BackendConfig = Options<typeof backendOptions>;

type DataConfig = Options<typeof dataOptions> & {
  readonly train: PluginUse;
  readonly eval: PluginUse | null;
  readonly transforms: readonly PluginUse[];
};

type EvaluationConfig = Options<typeof evaluationOptions> & { readonly metrics: readonly PluginUse[] };

interface OptimizerConfig extends FlatPluginUse {
  /** The base learning rate. The schedule multiplies it. */
  readonly learningRate: number;
}

/** `resumeFromCheckpoint` is an absolute path, true, or null. */
export type TrainingConfig = FromSchema<typeof training>;

/**
 * A validated configuration: every default is set, every path is absolute, and all objects are frozen. `output.folder`
 * is an absolute path, or null for a run that writes nothing.
 */
export interface ResolvedConfig {
  /** The absolute folder that relative paths in the options of plugins start from. */
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
  readonly output: FromSchema<typeof output>;
  /** The stages, each with a complete configuration; absent for a run without stages. */
  readonly stages?: readonly { readonly name: string; readonly config: ResolvedConfig }[];
}
