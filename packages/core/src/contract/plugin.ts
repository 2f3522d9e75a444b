import type { BatchOptions, QualityGate } from './batch-options.js';
import type { AdapterFormat } from './adapter.js';
import type { Callback } from './callback.js';
import type { Batch, BatchSource, Conversation, DataSummary, Origin } from './data.js';
import type { FromSchema } from './from-schema.js';
import type { Json, JsonSchema } from './json.js';
import type { Metric } from './metric.js';
import type { LoadedModel, ModelOutline } from './model.js';
import type { Optimizer, Schedule } from './optimizer.js';
import type { Recipe } from './recipe.js';
import type { WeightStorage } from './storage.js';
import type { Strategy } from './strategy.js';
import type { ChatRenderer, Tokenizer } from './tokenizer.js';

/** The version of the plugin contract: the value of every plugin's `apiVersion`. */
export const PLUGIN_API_VERSION = 2;

/** Receives the messages of a run, with a level and optional structured fields. */
export interface Logger {
  /** Reports a detail that helps to find an error. */
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** Reports progress. */
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** Reports a possible problem. The run continues. */
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** Reports a failure. */
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** A local model that answers prompts. */
export interface TextGenerator {
  /** Returns the assistant's reply to one user message, at most a few hundred tokens. */
  generate(
    prompt: string,
    options: { /** 0 selects the most probable token. */ readonly temperature: number; readonly seed: number },
  ): Promise<string>;
  /** Disposes the model. */
  dispose(): void;
}

/** Measures how likely a model finds conversations. */
export interface LossMeter {
  /** Returns the mean loss of each conversation's target tokens, in nats; null if it has none. */
  measure(conversations: readonly Conversation[]): Promise<readonly (number | null)[]>;
  /** Disposes the model, unless it is the one that is trained. */
  dispose(): void;
}

/** The services and settings of a run that `create` of every plugin receives. */
export interface PluginContext {
  readonly logger: Logger;
  /** The seed of the run. */
  readonly seed: number;
  /** The absolute path of the folder that relative paths in the configuration start from. */
  readonly baseFolder: string;
  /** The absolute path of the run's folder, or null if the run writes nothing. */
  readonly outputFolder: string | null;
  /** Returns whether the user set an option of the plugin; false if it only has its default. */
  readonly isSet?: (option: string) => boolean;
  /** Loads a model by its folder or name, to generate text. Absent if the application does not support it. */
  readonly openGenerator?: (model: string) => Promise<TextGenerator>;
  /**
   * Opens a model by its folder or name, or the model that is trained (null), to measure losses. Absent if the
   * application does not support it.
   */
  readonly openLossMeter?: (model: string | null) => Promise<LossMeter>;
}

/** A source of conversations that can be read repeatedly, in the same order. */
export interface DataSource {
  /** Returns the conversations in order. Each call starts at the first one. */
  conversations(): AsyncIterable<Conversation> | Iterable<Conversation>;
  /** The rows that could not be read so far. */
  readonly unreadable: DataSummary['unreadable'];
  /** The paths of the files that the source reads. */
  readonly files: readonly string[];
}

/** A conversation that a transform removed. */
export interface Removal {
  readonly origin: Origin;
  /** The category of the removal, by which removals are counted (`too-short`, `near-duplicate`). */
  readonly reason: string;
  /** A description of this removal for users. */
  readonly detail?: string;
}

/** What a transform changed and removed in its latest pass. */
export interface TransformReport {
  /** The name of the transform. */
  readonly name: string;
  readonly conversationsIn: number;
  readonly conversationsOut: number;
  /** The number of removed conversations, by reason. */
  readonly removed: Readonly<Record<string, number>>;
  /** The number of changes within the remaining conversations, by kind (`email`, `quotes`). */
  readonly changed: Readonly<Record<string, number>>;
  /** The removed conversations. */
  readonly removals: readonly Removal[];
}

/** Changes, adds or removes conversations before they are rendered. */
export interface DataTransform {
  /** Returns the transformed conversations. Each call is independent: no state remains from an earlier pass. */
  transform(conversations: AsyncIterable<Conversation>): AsyncIterable<Conversation>;
  /** True if the transform applies to training data only (augmentation, mixing). Evaluation data then skips it. */
  readonly trainOnly?: boolean;
  /** The report of the latest pass. It is complete when the conversations have been iterated to the end. */
  readonly report?: TransformReport;
  /** The recipe for worker threads. Present only if the transform treats each conversation independently. */
  readonly recipe?: Recipe;
}

/** Loads models of an architecture or file format. */
export interface ModelLoader {
  /**
   * Loads a model with its tokenizer and renderer. The caller owns the model.
   *
   * @param options.chatTemplatePath the file of the chat template; null or absent: the template of the folder
   * @param options.templateTime the time that the chat template writes; null or absent: the present time
   * @param options.storage decides how weights are stored on the device. A loader that ignores it stores float32;
   *   strategies that require another storage then convert the weights themselves.
   * @param options.addTokens tokens to add to the vocabulary if it lacks them
   */
  load(
    folder: string,
    options?: {
      readonly chatTemplatePath?: string | null;
      readonly templateTime?: Date | null;
      readonly storage?: WeightStorage | null;
      readonly addTokens?: readonly string[];
    },
  ): Promise<LoadedModel>;
  /** Returns the structure of a model without reading its weights, so that options can be checked against it first. */
  outline?(folder: string): Promise<ModelOutline>;
}

/** The properties of a run that a schedule depends on. */
export interface ScheduleInputs {
  /** The number of optimizer steps of the run. */
  readonly totalSteps: number;
  /** The base learning rate, for schedules with an absolute minimum. A schedule returns factors of it. */
  readonly learningRate: number;
}

/** The type of object that `create` returns, for each kind of plugin. */
export interface PluginInstances {
  strategy: Strategy;
  callback: Callback;
  model: ModelLoader;
  'data-source': DataSource;
  'data-transform': DataTransform;
  metric: Metric;
  optimizer: Optimizer;
  /** Returns the schedule of a run. */
  schedule: (inputs: ScheduleInputs) => Schedule;
  logger: Callback;
}

/** A kind of plugin. The kind determines the keys of the configuration that can name the plugin. */
export type PluginKind = keyof PluginInstances;

/**
 * A plugin as {@link definePlugin} returns it. `C` is the type of the options. The default `never` makes every plugin
 * assignable to `Plugin`, so that plugins with different options fit into one list.
 */
export interface Plugin<K extends PluginKind = PluginKind, C = never> {
  readonly apiVersion: typeof PLUGIN_API_VERSION;
  readonly kind: K;
  /** The name by which a configuration selects the plugin. Unique among the plugins of one kind. */
  readonly name: string;
  readonly version?: string;
  /** One sentence that `whetstone plugins` shows. */
  readonly description?: string;
  /** The JSON Schema of the options: an object with `additionalProperties: false`. Its defaults are applied. */
  readonly configSchema: JsonSchema;
  /**
   * Creates the object of this kind. The options have been validated, and their defaults are set. `create` must read
   * all options: an option that the user set and the plugin never reads is an error (`CONFIG_UNUSED_KEY`).
   */
  create(options: C, context: PluginContext): PluginInstances[K] | Promise<PluginInstances[K]>;
  /**
   * Checks what the schema of the options cannot express. It is called before anything is read or trained, for all
   * stages of a run, and throws a `WhetstoneError`. With stages, `outputFolder` is the folder of the whole run.
   */
  checkOptions?(options: C, context: Pick<PluginContext, 'baseFolder' | 'outputFolder'>): void;
  /** Only for strategies: reads and merges the adapters that the strategy exports. */
  readonly adapter?: AdapterFormat;
}

/** The argument of {@link definePlugin}: a plugin whose type of options is derived from its schema. */
export interface PluginDefinition<K extends PluginKind, S extends JsonSchema> extends Omit<
  Plugin<K>,
  'configSchema' | 'create' | 'checkOptions'
> {
  readonly kind: K;
  readonly configSchema: S;
  /** Checks what the schema of the options cannot express; see {@link Plugin}. */
  checkOptions?(options: FromSchema<S>, context: Pick<PluginContext, 'baseFolder' | 'outputFolder'>): void;
  /**
   * Creates the object of this kind. The type of `options` is derived from the schema. Must read all options, for
   * example by destructuring; see {@link Plugin}.
   */
  create(options: FromSchema<S>, context: PluginContext): PluginInstances[K] | Promise<PluginInstances[K]>;
}

/**
 * Declares a plugin. The type of the options in `create` is derived from `configSchema`: write the schema inline, or
 * declare it `as const`.
 */
export function definePlugin<K extends PluginKind, const S extends JsonSchema>(
  definition: PluginDefinition<K, S>,
): Plugin<K> {
  return definition as unknown as Plugin<K>;
}

/** The version and options of the plugin that created a transform. */
export interface TransformOrigin {
  readonly version: string | null;
  readonly options: Json;
}

/** The services that a {@link BatchSourceFactory} uses, and checks that it makes. */
export interface BatchSourceDependencies {
  readonly tokenizer: Tokenizer;
  readonly renderer: ChatRenderer;
  readonly logger: Logger;
  /** The transforms to apply, in order. */
  readonly transforms?: readonly DataTransform[];
  /** The origin of each transform, for the manifest of the data. */
  readonly transformOrigins?: readonly TransformOrigin[];
  /** Returns the mean loss of each row of a batch under the untrained model. */
  readonly rowLosses?: (batch: Batch) => Promise<ArrayLike<number>>;
  /**
   * Evaluation data, made earlier by the same factory, that this data must not contain. Violations are an error
   * (`DATA_LEAKAGE`) or a warning.
   */
  readonly heldOut?: {
    readonly data: BatchSource;
    readonly policy: 'error' | 'warn';
    /** The minimum Jaccard similarity of character shingles that counts as a duplicate; 1: identical texts only. */
    readonly threshold: number;
  };
  /** Requirements for the transformed data. If it violates any, `create` throws `DATA_QUALITY` and lists them. */
  readonly qualityGate?: QualityGate | null;
  /** Ends reading with `INTERRUPTED` when it is aborted. */
  readonly signal?: AbortSignal;
  /** What the data is, in messages: `replay data`; by default `train data` or `eval data`. */
  readonly title?: string;
}

/** One part of data of which a share is held out for evaluation. */
export interface HeldOutShare {
  readonly part: 'train' | 'eval';
  /** The share of the evaluation part: more than 0 and less than 1. */
  readonly share: number;
  readonly seed: number;
}

/** Makes batches from data sources. */
export interface BatchSourceFactory {
  /**
   * Returns a transform that keeps one part of the conversations. The part of a conversation depends only on its
   * contents and the seed. Absent if the factory does not support `data.evalShare`.
   */
  split?(options: HeldOutShare): DataTransform | Promise<DataTransform>;
  /**
   * Reads, transforms, renders and tokenizes the conversations of a data source, and arranges them in batches.
   *
   * @throws `DATA_UNREADABLE` if rows cannot be read and `unreadableRows` does not allow it
   * @throws `DATA_EMPTY` if no conversation can be used
   * @throws `DATA_NOTHING_TO_LEARN` if no conversation has a supervised token, or if any has none and
   *   `samplesWithoutTargets` is `error`
   * @throws `CONTEXT_EXCEEDED` if a conversation is longer than `maxLength` and `truncationMode` is `error`
   * @throws `TEMPLATE_FAILED` if the template fails or rejects a conversation
   * @throws `DATA_SUPERVISION` if supervision is not as intended and `supervisionProof` is `error`
   * @throws `DATA_LEAKAGE` if the data contains evaluation data and the policy is `error`
   * @throws `DATA_QUALITY` if the data violates the quality gate
   */
  create(source: DataSource, dependencies: BatchSourceDependencies, options: BatchOptions): Promise<BatchSource>;
}
