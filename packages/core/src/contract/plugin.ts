import type { Callback } from './callback.js';
import type { Batch, BatchSource, Conversation, DataSummary, Message, Origin, ToolDefinition } from './data.js';
import type { FromSchema } from './from-schema.js';
import type { Json, JsonSchema } from './json.js';
import type { LoadedModel, ModelOutline } from './model.js';
import type { Optimizer, Schedule } from './optimizer.js';
import type { Recipe } from './recipe.js';
import type { WeightStorage } from './storage.js';
import type { Strategy } from './strategy.js';
import type { ChatRenderer, Tokenizer } from './tokenizer.js';

/** The version of the plugin contract; `apiVersion` of a plugin names it. */
export const PLUGIN_API_VERSION = 1;

/** Leveled, structured messages. */
export interface Logger {
  /** Reports a detail that helps to find a fault. */
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** Reports progress. */
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** Reports what may be wrong; the run continues. */
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** Reports a failure. */
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** A model on this machine that answers prompts. */
export interface TextGenerator {
  /** The assistant's reply to one user message, at most a few hundred tokens. */
  generate(
    prompt: string,
    options: { /** 0 takes the likeliest token. */ readonly temperature: number; readonly seed: number },
  ): Promise<string>;
  /** Frees the model. */
  dispose(): void;
}

/**
 * Has a loaded model answer conversations: one reply each, in their order, as text without special tokens; the
 * likeliest token every time. Whatever is trained on top of the model counts.
 */
export type ReplyGenerator = (
  loaded: LoadedModel,
  conversations: readonly { readonly messages: readonly Message[]; readonly tools?: readonly ToolDefinition[] }[],
  options: { readonly maxNewTokens: number; readonly signal?: AbortSignal },
) => Promise<readonly string[]>;

/** What every plugin may know when it is created. Narrow on purpose. */
export interface PluginContext {
  readonly logger: Logger;
  readonly seed: number;
  /** Folder that relative paths of the configuration start from. */
  readonly baseFolder: string;
  /** Folder of the run, or null where the run writes nothing. */
  readonly outputFolder: string | null;
  /** Loads a model, by its folder or name, to ask it: where the program that runs the plugin can. */
  readonly openGenerator?: (model: string) => Promise<TextGenerator>;
}

/** Reads conversations: plain, in order, replayable. */
export interface DataSource {
  /** Iterates over the conversations, from the first one at each call. */
  conversations(): AsyncIterable<Conversation> | Iterable<Conversation>;
  /** Rows that could not be read so far. */
  readonly unreadable: DataSummary['unreadable'];
  readonly files: readonly string[];
}

/** One conversation that a transform took out. */
export interface Removal {
  readonly origin: Origin;
  /** A word that can be counted (`too-short`, `near-duplicate`). */
  readonly reason: string;
  /** What exactly it was, for people. */
  readonly detail?: string;
}

/** What a transform did to the conversations that went through it last. */
export interface TransformReport {
  readonly name: string;
  readonly conversationsIn: number;
  readonly conversationsOut: number;
  /** Conversations taken out, by reason. */
  readonly removed: Readonly<Record<string, number>>;
  /** Things changed within conversations that stayed, by kind (`email`, `quotes`). */
  readonly changed: Readonly<Record<string, number>>;
  /** Every conversation that was taken out. */
  readonly removals: readonly Removal[];
}

/** Changes, adds or removes conversations between reading and rendering. */
export interface DataTransform {
  /** Each call starts anew: a transform keeps nothing from one pass to the next. */
  transform(conversations: AsyncIterable<Conversation>): AsyncIterable<Conversation>;
  /** Whether it may only touch training data (augmentation, mixing); evaluation data then goes past it. */
  readonly trainOnly?: boolean;
  /** What the latest pass did; complete once it was iterated to its end. */
  readonly report?: TransformReport;
  /** Where it looks at each conversation for itself: how a worker thread makes it, too. */
  readonly recipe?: Recipe;
}

/** A model architecture or format: recognises a folder and loads it. */
export interface ModelLoader {
  /**
   * `storage` says how weights are kept; a loader that knows nothing of it keeps float32, and strategies that need
   * another storage bring it about themselves.
   */
  load(
    folder: string,
    options?: {
      readonly chatTemplatePath?: string | null;
      readonly storage?: WeightStorage | null;
      /** Tokens that the vocabulary gets, where it has them not. */ readonly addTokens?: readonly string[];
    },
  ): Promise<LoadedModel>;
  /** The model without its weights, so that options are checked against it before those are read. */
  outline?(folder: string): Promise<ModelOutline>;
}

/** Scores generated replies against references. */
export interface Metric {
  /** Called with each evaluation; returns plain numbers by name. */
  compute(
    pairs: readonly { readonly prediction: string; readonly reference: string }[],
  ): Readonly<Record<string, number>>;
}

/** What a schedule is made for. */
export interface ScheduleInputs {
  readonly totalSteps: number;
  /** The base rate, for schedules with an absolute floor; the schedule itself gives a factor of it. */
  readonly learningRate: number;
}

/** What each kind of plugin creates. */
export interface PluginInstances {
  strategy: Strategy;
  callback: Callback;
  model: ModelLoader;
  'data-source': DataSource;
  'data-transform': DataTransform;
  metric: Metric;
  optimizer: Optimizer;
  /** Makes the schedule of a run. */
  schedule: (inputs: ScheduleInputs) => Schedule;
  logger: Callback;
}

/** A kind of plugin: one section of the configuration each. */
export type PluginKind = keyof PluginInstances;

/**
 * A plugin as the registry holds it. `C` is what `create` accepts; with the default `never`, `Plugin[]` holds every
 * plugin.
 */
export interface Plugin<K extends PluginKind = PluginKind, C = never> {
  readonly apiVersion: typeof PLUGIN_API_VERSION;
  readonly kind: K;
  readonly name: string;
  readonly version?: string;
  /** One line for `whetstone plugins`. */
  readonly description?: string;
  /** JSON Schema of the options, an object with `additionalProperties: false`. Defaults are applied from it. */
  readonly configSchema: JsonSchema;
  /** Makes what the plugin is for, with options that passed the schema. */
  create(options: C, context: PluginContext): PluginInstances[K] | Promise<PluginInstances[K]>;
}

/** What an author writes: the type of the options follows from the schema. */
export interface PluginDefinition<K extends PluginKind, S extends JsonSchema> extends Omit<
  Plugin<K>,
  'configSchema' | 'create'
> {
  readonly kind: K;
  readonly configSchema: S;
  /** Makes what the plugin is for; the type of `options` follows from the schema. */
  create(options: FromSchema<S>, context: PluginContext): PluginInstances[K] | Promise<PluginInstances[K]>;
}

/**
 * Declares a plugin. A schema that is written in place, or `as const` beside it, tells `create` the type of its
 * options.
 */
export function definePlugin<K extends PluginKind, const S extends JsonSchema>(
  definition: PluginDefinition<K, S>,
): Plugin<K> {
  return definition as unknown as Plugin<K>;
}

/** How often the groups of a data set are learned from. */
export interface BalanceOptions {
  /** What makes a group: `file`, or a column of the data (`topic`, `source`). */
  readonly by: string;
  /** Shares of groups, from 0 to 1; groups without one share the rest by their size. */
  readonly weights?: Readonly<Record<string, number>>;
  /** Above 1: groups without a weight come nearer to equal shares (share ∝ size^(1/temperature)). */
  readonly temperature?: number;
  /** A sample is seen at most this often in an epoch. */
  readonly maxRepeats?: number;
}

/** What a data set must keep to; what is not given is not asked for. Shares are of all conversations, from 0 to 1. */
export interface QualityGate {
  /** Conversations, at least. */
  readonly minConversations?: number;
  /** Mean score of the samples, 0 to 100, at least. */
  readonly minMeanScore?: number;
  /** Share of conversations that repeat another one, or almost, at most. */
  readonly maxDuplicates?: number;
  /** Share of rows that cannot be read, at most. */
  readonly maxUnreadable?: number;
  /** Share of conversations that may be labelled wrongly, at most. */
  readonly maxSuspects?: number;
  /** Share of conversations that are cut, at most. */
  readonly maxTruncated?: number;
  /** Share of the tokens that are learned, at least. */
  readonly minSupervised?: number;
  /** Evenness of topics, 0 to 1, at least. */
  readonly minTopicBalance?: number;
}

/**
 * Orders the data from easy to hard.
 *
 * @public
 */
export interface CurriculumOptions {
  /** `length` (tokens), `loss` (under the model as it was loaded), or a column of the data with numbers. */
  readonly by: string;
  /** Epochs that are ordered; later ones are as `samplingStrategy` says. */
  readonly epochs: number;
}

/** How a data source becomes batches: the `data` part of a configuration, for training or for evaluation. */
export interface BatchOptions {
  readonly purpose: 'train' | 'eval';
  /** Rows of a batch: conversations, or with `packing` rows of several conversations. */
  readonly batchSize: number;
  /** Tokens; null: as long as the conversations are. */
  readonly maxLength: number | null;
  /**
   * What happens to a longer conversation: its start or its end is kept, whole old exchanges are dropped, or it is an
   * error.
   */
  readonly truncationMode: 'keep_start' | 'keep_end' | 'drop_turns' | 'error';
  /** Whether only the assistant's turns are learned from. */
  readonly assistantOnlyLoss: boolean;
  /** Whether of a prompt and its completion only the completion is learned from. */
  readonly completionOnlyLoss: boolean;
  /** The roles whose turns are learned from under `assistantOnlyLoss`. */
  readonly rolesToTrain: readonly string[];
  /** Whether only the last of these turns is learned from. */
  readonly lastTurnOnly: boolean;
  /**
   * How much turns of a role count in the loss; 1 for roles that are not named. A message's own `weight` comes before
   * it.
   */
  readonly roleWeights: Readonly<Record<string, number>>;
  /** Whether the rows are shuffled once, before the first epoch. */
  readonly shuffleDataset: boolean;
  /** Order within each epoch; evaluation is always `sequential`. */
  readonly samplingStrategy: 'random' | 'group_by_length' | 'mixed_length' | 'sequential';
  /** Whether several conversations share a row of `maxLength` tokens; none of them sees another. */
  readonly packing: boolean;
  readonly packingStrategy: 'bfd' | 'bfd_split' | 'wrapped';
  /** Batches of as many rows as fit into this many tokens, padding included, instead of `batchSize`. */
  readonly tokensPerBatch: number | null;
  /** Shares of groups; null: every conversation once. */
  readonly balance: BalanceOptions | null;
  readonly curriculum: CurriculumOptions | null;
  /**
   * Whether the conversations of a batch share rows, where that makes fewer positions; none of them sees another, and
   * the loss is the same.
   */
  readonly paddingFree: boolean;
  readonly padToMultipleOf: number | null;
  /** What rows that cannot be read mean; `maxShare`: an error where they are a larger share of all rows than that. */
  readonly unreadableRows: 'error' | 'skip' | { readonly maxShare: number };
  /** What a conversation without anything to learn from means; `keep` leaves it in the batches. */
  readonly samplesWithoutTargets: 'error' | 'skip' | 'keep';
  /**
   * What it means where a turn's end is not learned, or training shows another text before a turn than serving would.
   */
  readonly supervisionProof: 'error' | 'warn' | 'off';
  /**
   * Threads that read, clean and tokenise large data; null: as many as there are cores; 0: none but the main one. The
   * batches are the same.
   */
  readonly workers: number | null;
  readonly seed: number;
}

/** What a transform was made from. */
export interface TransformOrigin {
  readonly version: string | null;
  readonly options: Json;
}

/** What turns conversations into batches, and what may be asked meanwhile. */
export interface BatchSourceDependencies {
  readonly tokenizer: Tokenizer;
  readonly renderer: ChatRenderer;
  readonly logger: Logger;
  readonly transforms?: readonly DataTransform[];
  /** What each of these was made from, for the manifest of the data: version and options of its plugin. */
  readonly transformOrigins?: readonly TransformOrigin[];
  /** Mean loss of each row of a batch under the model as it was loaded. */
  readonly rowLosses?: (batch: Batch) => Promise<ArrayLike<number>>;
  /**
   * Evaluation data that the same factory made before and that this data must not repeat: an error (`DATA_LEAKAGE`), or
   * a warning.
   */
  readonly heldOut?: {
    readonly data: BatchSource;
    readonly policy: 'error' | 'warn';
    /** The least similarity (Jaccard, of character shingles) that counts as a repetition; 1: equal ones alone. */
    readonly threshold: number;
  };
  /**
   * Rules that the data must keep to, as it is after its transforms: an error (`DATA_QUALITY`) that lists those which
   * it does not.
   */
  readonly qualityGate?: QualityGate | null;
  /** Aborted: reading ends with `INTERRUPTED`. */
  readonly signal?: AbortSignal;
}

/** Turns conversations into batches: the last stretch of the data's way. */
export interface BatchSourceFactory {
  /** Reads, cleans, tokenises and batches a data source. */
  create(source: DataSource, dependencies: BatchSourceDependencies, options: BatchOptions): Promise<BatchSource>;
}
