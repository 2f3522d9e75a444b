import type { FromSchema } from './from-schema.js';

const share = <const D extends string>(description: D) =>
  ({ type: 'number', minimum: 0, maximum: 1, description }) as const;

/** The schema of {@link BalanceOptions}. */
export const balanceSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['by'],
  properties: {
    by: {
      type: 'string',
      minLength: 1,
      description: 'The property that defines the groups: file, or the name of a column.',
    },
    weights: {
      type: 'object',
      additionalProperties: { type: 'number', minimum: 0 },
      default: {},
      description:
        'The shares of groups, for example {"general.jsonl": 0.07}. The other groups divide the rest in ' +
        'proportion to their sizes.',
    },
    temperature: {
      type: 'number',
      minimum: 1,
      default: 1,
      description: 'Above 1: makes the shares of groups without a weight more equal (share ∝ size^(1/temperature)).',
    },
    maxRepeats: {
      type: 'number',
      exclusiveMinimum: 0,
      default: 3,
      description: 'The maximum number of times that a conversation occurs in an epoch.',
    },
  },
} as const;

type Balance = FromSchema<typeof balanceSchema>;

/** Sets how often each group of the training data occurs in an epoch. Absent keys have the defaults of the schema. */
export interface BalanceOptions extends Pick<Balance, 'by'>, Partial<Omit<Balance, 'by'>> {}

const curriculumSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    by: {
      type: 'string',
      minLength: 1,
      default: 'length',
      description:
        'The measure of difficulty: length in tokens, loss (under the untrained model), or the name of a numeric ' +
        'column.',
    },
    epochs: {
      type: 'integer',
      minimum: 1,
      default: 1,
      description: 'The number of ordered epochs. Later epochs follow the sampling strategy.',
    },
  },
} as const;

/** The schema of {@link QualityGate}. */
export const qualityGateSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    minConversations: { type: 'integer', minimum: 0, description: 'The minimum number of conversations.' },
    minMeanScore: {
      type: 'number',
      minimum: 0,
      maximum: 100,
      description: 'The minimum mean score of the conversations, from 0 to 100.',
    },
    maxDuplicates: share('The maximum share of conversations that are duplicates or near duplicates of another one.'),
    maxUnreadable: share('The maximum share of rows that cannot be read.'),
    maxSuspects: share('The maximum share of conversations with a suspected labelling error.'),
    maxTruncated: share('The maximum share of conversations that are truncated.'),
    minSupervised: share('The minimum share of supervised tokens among all tokens.'),
    minTopicBalance: share('The minimum evenness of the topics, from 0 to 1.'),
  },
} as const;

/** Requirements for a data set. Absent ones are not checked. Shares range from 0 to 1. */
export interface QualityGate extends FromSchema<typeof qualityGateSchema> {}

/** The schema of {@link BatchOptions}. The section `data` of a configuration consists of these keys and a few more. */
export const batchSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    batchSize: {
      type: 'integer',
      minimum: 1,
      default: 8,
      description: 'The number of rows per batch. A row is one conversation, or several if packing is true.',
    },
    maxLength: {
      type: ['integer', 'null'],
      minimum: 2,
      default: 1024,
      description: 'The maximum number of tokens in a conversation; longer ones are truncated. null: unlimited.',
    },
    truncationMode: {
      type: 'string',
      enum: ['keep_start', 'keep_end', 'drop_turns', 'error'],
      default: 'keep_start',
      description:
        'How to truncate a long conversation: keep its start, keep its end, drop its oldest exchanges, or report an ' +
        'error.',
    },
    assistantOnlyLoss: { type: 'boolean', default: true, description: 'Supervise only the turns of rolesToTrain.' },
    completionOnlyLoss: {
      type: 'boolean',
      default: true,
      description: 'Supervise only the completion of prompt-completion pairs. Other conversations are not affected.',
    },
    rolesToTrain: {
      type: 'array',
      items: { type: 'string', minLength: 1 },
      minItems: 1,
      default: ['assistant'],
      description: 'The roles whose turns are supervised.',
    },
    lastTurnOnly: { type: 'boolean', default: false, description: 'Supervise only the last of these turns.' },
    roleWeights: {
      type: 'object',
      additionalProperties: { type: 'number', minimum: 0 },
      default: {},
      description:
        'The weights of roles in the loss, for example {"assistant": 1, "user": 0.2}. A message\'s own weight ' +
        'takes precedence.',
    },
    shuffleDataset: {
      type: 'boolean',
      default: true,
      description: 'Shuffle the conversations once, before the first epoch.',
    },
    samplingStrategy: {
      type: 'string',
      enum: ['random', 'group_by_length', 'mixed_length', 'sequential'],
      default: 'random',
      description:
        'The order of the conversations within an epoch. group_by_length needs the least padding, but batches ' +
        'of one length train worse; mixed_length is a compromise.',
    },
    packing: {
      type: 'boolean',
      default: false,
      description:
        'Pack several conversations into each row of maxLength tokens. Attention does not cross conversations.',
    },
    packingStrategy: {
      type: 'string',
      enum: ['bfd', 'bfd_split', 'wrapped'],
      default: 'bfd',
      description:
        'The packing algorithm: best fit decreasing; the same after long conversations are split; or concatenation.',
    },
    tokensPerBatch: {
      type: ['integer', 'null'],
      minimum: 1,
      default: null,
      description: 'The maximum number of tokens per batch, including padding. Replaces the number of rows per batch.',
    },
    balance: {
      ...balanceSchema,
      type: ['object', 'null'],
      default: null,
      description: 'Sets how often each group of the training data occurs; null: every conversation once per epoch.',
    },
    curriculum: {
      ...curriculumSchema,
      type: ['object', 'null'],
      default: null,
      description: 'Orders the conversations from easy to hard; null: every epoch follows the sampling strategy.',
    },
    paddingFree: {
      type: 'boolean',
      default: true,
      description:
        'Let the conversations of a batch share rows to reduce padding. Attention does not cross conversations, ' +
        'and the loss is the same.',
    },
    padToMultipleOf: {
      type: ['integer', 'null'],
      minimum: 1,
      default: null,
      description: 'Pad the length of each batch to a multiple of this many tokens.',
    },
    unreadableRows: {
      default: { maxShare: 0.01 },
      description:
        'What to do with rows that cannot be read: report an error, or skip, count and report them. maxShare: ' +
        'skip them unless their share of all rows is larger.',
      anyOf: [
        { enum: ['error', 'skip'] },
        {
          type: 'object',
          additionalProperties: false,
          required: ['maxShare'],
          properties: { maxShare: { type: 'number', minimum: 0, maximum: 1 } },
        },
      ],
    },
    samplesWithoutTargets: {
      type: 'string',
      enum: ['error', 'skip', 'keep'],
      default: 'error',
      description: 'What to do with conversations without supervised tokens. Skipped ones are counted and reported.',
    },
    supervisionProof: {
      type: 'string',
      enum: ['error', 'warn', 'off'],
      default: 'error',
      description:
        "How to report that a turn's end is not supervised, or that training renders a conversation differently " +
        'from serving.',
    },
    workers: {
      type: ['integer', 'null'],
      minimum: 0,
      default: null,
      description:
        'The number of worker threads that read, transform and tokenize large data; null: one per core; 0: none. ' +
        'The batches do not depend on it.',
    },
    seed: { type: 'integer', minimum: 0, default: 42, description: 'The seed of the order of the conversations.' },
  },
} as const;

type BatchSettings = FromSchema<typeof batchSchema>;

/** The options for making batches from a data source, for training or for evaluation. */
export interface BatchOptions extends Omit<BatchSettings, 'balance'> {
  /** Evaluation batches are always `sequential`, without a balance or curriculum. */
  readonly purpose: 'train' | 'eval';
  /** The shares of groups; null: every conversation occurs once per epoch. */
  readonly balance: BalanceOptions | null;
}
