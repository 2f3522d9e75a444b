import type { JsonSchema, PluginKind } from '../contract/index.js';

/** What stands at a place for plugins: its schema, made from the plugins that are known. */
export type SlotSchema = (kind: PluginKind, more?: SlotOptions) => JsonSchema;

export interface SlotOptions {
  readonly description?: string;
  /** Given where the options stand beside `use`: what else stands there. */
  readonly flatProperties?: { readonly [key: string]: JsonSchema };
  readonly defaultUse?: string;
  /** Other forms than an object. */
  readonly shortForms?: readonly ('string' | 'array' | 'null')[];
}

const integer = (minimum: number, value: number, description: string): JsonSchema => ({
  type: 'integer',
  minimum,
  default: value,
  description,
});
const optionalInteger = (minimum: number, description: string): JsonSchema => ({
  type: ['integer', 'null'],
  minimum,
  default: null,
  description,
});
const flag = (value: boolean, description: string): JsonSchema => ({ type: 'boolean', default: value, description });
const choice = (values: readonly string[], value: string, description: string): JsonSchema => ({
  type: 'string',
  enum: values,
  default: value,
  description,
});
const optionalPath = (description: string): JsonSchema => ({
  type: ['string', 'null'],
  minLength: 1,
  default: null,
  description,
});
const section = (properties: { readonly [key: string]: JsonSchema }, more: JsonSchema = {}): JsonSchema => ({
  type: 'object',
  properties,
  additionalProperties: false,
  default: {},
  ...more,
});

const dataProperties = (slot: SlotSchema): { readonly [key: string]: JsonSchema } => ({
  train: slot('data-source', {
    description: 'What to learn from: a file, a folder, a glob, a list of them, or a data source.',
    shortForms: ['string', 'array'],
  }),
  eval: slot('data-source', {
    description: 'What to measure with, in the same forms.',
    shortForms: ['string', 'array', 'null'],
  }),
  transforms: {
    type: 'array',
    items: slot('data-transform', { shortForms: ['string'] }),
    default: [],
    description:
      'What happens to the conversations before they are rendered, in this order: cleaning, redaction, ' +
      'deduplication, …',
  },
  maxLength: {
    type: ['integer', 'null'],
    minimum: 2,
    default: 1024,
    description: 'Tokens that a conversation is cut to; null: never cut.',
  },
  truncationMode: choice(
    ['keep_start', 'keep_end', 'drop_turns', 'error'],
    'keep_start',
    'Which end of a conversation that is too long is kept; or whole old exchanges are dropped; or it is an error.',
  ),
  assistantOnlyLoss: flag(true, "Learn from the assistant's turns only."),
  completionOnlyLoss: {
    type: ['boolean', 'null'],
    default: true,
    description:
      'Of pairs of prompt and completion, learn from the completion only; null is the same. Other ' +
      'conversations know no such difference.',
  },
  rolesToTrain: {
    type: 'array',
    items: { type: 'string', minLength: 1 },
    minItems: 1,
    default: ['assistant'],
    description: 'The roles whose turns are learned from.',
  },
  lastTurnOnly: flag(false, 'Learn from the last of these turns only.'),
  roleWeights: {
    type: 'object',
    additionalProperties: { type: 'number', minimum: 0 },
    default: {},
    description:
      'How much the turns of a role count in the loss, as {"assistant": 1, "user": 0.2}; a message\'s own ' +
      'weight comes before it.',
  },
  shuffleDataset: flag(true, 'Shuffle the conversations once, before the first epoch.'),
  trainSamplingStrategy: choice(
    ['random', 'group_by_length', 'mixed_length', 'sequential'],
    'random',
    'The order of the conversations within an epoch. group_by_length wastes the least on padding, but batches ' +
      'of one length teach worse; mixed_length lies between.',
  ),
  packing: flag(false, 'Put several conversations into each row of maxLength tokens; none of them sees another.'),
  packingStrategy: choice(
    ['bfd', 'bfd_split', 'wrapped'],
    'bfd',
    'How conversations are packed: best fit decreasing; the same, after long ones are split; or end to end.',
  ),
  tokensPerBatch: optionalInteger(
    1,
    'Batches of as many rows as fit into this many tokens, padding included, instead of perDeviceTrainBatchSize rows.',
  ),
  balance: {
    type: ['object', 'null'],
    default: null,
    additionalProperties: false,
    required: ['by'],
    description: 'How often the groups of the training data are learned from; null: every conversation once an epoch.',
    properties: {
      by: { type: 'string', minLength: 1, description: 'What makes a group: file, or a column of the data.' },
      weights: {
        type: 'object',
        additionalProperties: { type: 'number', minimum: 0 },
        default: {},
        description: 'Shares of groups, as {"general.jsonl": 0.07}; the others share the rest by their size.',
      },
      temperature: {
        type: 'number',
        minimum: 1,
        default: 1,
        description: 'Above 1, groups without a weight come nearer to equal shares.',
      },
      maxRepeats: {
        type: 'number',
        exclusiveMinimum: 0,
        default: 3,
        description: 'A conversation is seen at most this often in an epoch.',
      },
    },
  },
  curriculum: {
    type: ['object', 'null'],
    default: null,
    additionalProperties: false,
    description: 'From easy to hard; null: in no such order.',
    properties: {
      by: {
        type: 'string',
        minLength: 1,
        default: 'length',
        description: 'length, loss (under the model as it is loaded), or a column of the data with numbers.',
      },
      epochs: {
        type: 'integer',
        minimum: 1,
        default: 1,
        description: 'Epochs that go from easy to hard; later ones are as trainSamplingStrategy says.',
      },
    },
  },
  paddingFree: flag(
    true,
    'Let the conversations of a batch share rows, so that little of it is padding; none of them sees another, ' +
      'and the loss is the same.',
  ),
  padToMultipleOf: optionalInteger(1, 'Pad batches to a multiple of this many tokens.'),
  unreadableRows: {
    default: { maxShare: 0.01 },
    description:
      'What to do with rows that cannot be read: an error, or left out (reported and counted); maxShare: an ' +
      'error where they are a larger share of all rows.',
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
  samplesWithoutTargets: choice(
    ['error', 'skip', 'keep'],
    'error',
    'What to do with a conversation that has nothing to learn from; a skipped one is reported and counted.',
  ),
  supervisionProof: choice(
    ['error', 'warn', 'off'],
    'error',
    "What it means where a turn's end is not learned, or training shows the model another text than serving would.",
  ),
  leakage: {
    default: 'error',
    description: 'What it means where evaluation data, or almost the same, is also in the training data.',
    anyOf: [
      { enum: ['error', 'warn', 'off'] },
      {
        type: 'object',
        additionalProperties: false,
        properties: {
          policy: { enum: ['error', 'warn', 'off'], description: 'What it means; by default an error.' },
          threshold: {
            type: 'number',
            minimum: 0.3,
            maximum: 1,
            description:
              'How much of both must be alike (Jaccard similarity of their characters, by fours); 0.7 by ' +
              'default; 1: equal ones alone, but for case, spaces and punctuation.',
          },
        },
      },
    ],
  },
  qualityGate: {
    type: ['object', 'null'],
    default: null,
    additionalProperties: false,
    minProperties: 1,
    description:
      'What the training data, after its transforms, must keep to for the run to begin; whetstone data report ' +
      'measures the same. null: nothing.',
    properties: {
      minConversations: { type: 'integer', minimum: 0, description: 'Conversations, at least.' },
      minMeanScore: {
        type: 'number',
        minimum: 0,
        maximum: 100,
        description: 'Mean score of the samples, 0 to 100, at least.',
      },
      maxDuplicates: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        description: 'Share of conversations that repeat another one, or almost, at most.',
      },
      maxUnreadable: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        description: 'Share of rows that cannot be read, at most.',
      },
      maxSuspects: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        description: 'Share of conversations that may be labelled wrongly, at most.',
      },
      maxTruncated: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        description: 'Share of conversations that are cut, at most.',
      },
      minSupervised: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        description: 'Share of the tokens that are learned, at least.',
      },
      minTopicBalance: { type: 'number', minimum: 0, maximum: 1, description: 'Evenness of topics, 0 to 1, at least.' },
    },
  },
  workers: optionalInteger(
    0,
    'Threads that read, clean and tokenise large data; null: as many as there are cores; 0: none. The batches ' +
      'are the same.',
  ),
});

const training = section({
  numTrainEpochs: {
    type: 'number',
    exclusiveMinimum: 0,
    default: 3,
    description: 'Times that all training data is gone through.',
  },
  maxSteps: {
    type: 'integer',
    minimum: -1,
    default: -1,
    description: 'Optimizer steps, instead of epochs; -1: as many as the epochs take.',
  },
  perDeviceTrainBatchSize: integer(1, 8, 'Conversations in a microbatch.'),
  perDeviceEvalBatchSize: integer(1, 8, 'Conversations in a batch of evaluation.'),
  gradientAccumulationSteps: integer(1, 1, 'Microbatches in an optimizer step.'),
  seed: integer(0, 42, 'What all randomness of the run follows from.'),
  dataSeed: optionalInteger(0, 'The seed of the order of the data; null: the seed.'),
  loggingSteps: integer(1, 1, 'Read the loss back every this many steps.'),
  evalStrategy: choice(
    ['no', 'steps', 'epoch', 'ends'],
    'no',
    'When to evaluate; `ends` is before the first step and after the last.',
  ),
  evalSteps: optionalInteger(1, 'Steps between evaluations; null: loggingSteps.'),
  saveStrategy: choice(['no', 'steps', 'epoch', 'end'], 'steps', 'When to write a checkpoint.'),
  saveSteps: {
    type: 'number',
    exclusiveMinimum: 0,
    default: 500,
    description: 'Steps between checkpoints; below 1 a ratio of all steps.',
  },
  saveTotalLimit: optionalInteger(1, 'Keep only this many checkpoints, the newest; null: all.'),
  loadBestModelAtEnd: flag(false, 'End with the weights that scored best instead of the last ones.'),
  metricForBestModel: {
    type: 'string',
    minLength: 1,
    default: 'loss',
    description: 'The evaluation figure that decides what is best.',
  },
  greaterIsBetter: {
    type: ['boolean', 'null'],
    default: null,
    description:
      'Whether more of that figure is better; null: less is where its name ends in loss or perplexity, else more.',
  },
  resumeFromCheckpoint: {
    type: ['string', 'boolean', 'null'],
    default: null,
    description: 'true: go on from the newest checkpoint of the output folder; a path: from that one.',
  },
  resumeDespite: {
    type: 'array',
    items: { enum: ['data', 'template'] },
    uniqueItems: true,
    default: [],
    description:
      'What may be another than when the checkpoint was written: the training data, the chat template. ' +
      'Otherwise that is an error, as the run would not be the one that it goes on with.',
  },
  ddpTimeout: {
    type: 'number',
    exclusiveMinimum: 0,
    default: 1800,
    description: 'Training in several processes: seconds that one waits for another before the run ends.',
  },
  ddpBucketCapMb: {
    type: 'number',
    exclusiveMinimum: 0,
    default: 25,
    description:
      'Training in several processes: the most MiB of gradients that are summed at a time, while the backward ' +
      'pass goes on.',
  },
});

/** Stages as an editor knows them: validation looks at each stage together with what all of them share. */
function stagesSchema(slot: SlotSchema): JsonSchema {
  const list = (kind: PluginKind): JsonSchema => ({ type: 'array', items: slot(kind, { shortForms: ['string'] }) });
  return {
    type: 'array',
    minItems: 1,
    description:
      'Stages that are trained one after the other, each from where the one before ended; what a stage does ' +
      'not say is as it stands beside stages.',
    items: {
      type: 'object',
      additionalProperties: false,
      properties: {
        name: { type: 'string', minLength: 1, description: "What reports and the stage's folder are called." },
        data: section(dataProperties(slot), { default: undefined }),
        strategy: slot('strategy', { shortForms: ['string'] }),
        companions: list('strategy'),
        callbacks: list('callback'),
        loggers: list('logger'),
        optimizer: { type: ['object', 'string'] },
        schedule: { type: ['object', 'string'] },
        training: { ...training, default: undefined },
      },
    },
  };
}

/** The fixed part of every configuration; `slot` fills in what depends on the plugins. */
export function frameSchema(slot: SlotSchema): JsonSchema {
  const plugins = (kind: PluginKind, description: string): JsonSchema => ({
    type: 'array',
    items: slot(kind, { shortForms: ['string'] }),
    description,
  });
  return {
    type: 'object',
    additionalProperties: false,
    required: ['model', 'data', 'strategy'],
    properties: {
      $schema: { type: 'string', description: 'Where an editor finds the schema of this file.' },
      baseFolder: {
        type: 'string',
        minLength: 1,
        description: 'Where relative paths start and packages are looked for, instead of the folder of this file.',
      },
      model: slot('model', {
        description: "The folder of a model in Hugging Face's layout, or the name of a fetched model.",
        shortForms: ['string'],
      }),
      chatTemplatePath: optionalPath("A chat template to use instead of the model's own."),
      backend: {
        type: ['string', 'object'],
        minLength: 1,
        properties: {
          name: {
            type: 'string',
            minLength: 1,
            default: 'auto',
            description: 'auto, whetstone, xla, tensorflow, wasm or cpu.',
          },
          engine: {
            type: ['string', 'null'],
            enum: ['tensorflow', 'xla', null],
            description: 'Engine of the backend whetstone; null: what suits the machine.',
          },
          devices: optionalInteger(
            1,
            'Devices of the engine xla that make each step together, with a copy of the model on each; null: one.',
          ),
          threads: optionalInteger(1, 'Threads of a CPU backend; null: as many as there are cores.'),
          matmul: choice(
            ['float32', 'bfloat16'],
            'float32',
            'In which numbers matrices are multiplied; bfloat16 rounds both and adds up in float32. Weights, ' +
              'moments and the loss stay float32.',
          ),
        },
        additionalProperties: false,
        default: {},
        description: 'The tensor backend to compute on.',
      },
      data: section(dataProperties(slot), {
        required: ['train'],
        default: undefined,
        description: 'What to learn from, and how it becomes batches.',
      }),
      evaluation: section({
        metrics: {
          ...plugins(
            'metric',
            "What is measured on the model's own answers at every evaluation, besides the loss: chrf, exact-match, …",
          ),
          default: [],
        },
        replies: integer(
          1,
          32,
          'Conversations of the evaluation data that the model answers for them, at most: the first that end ' +
            'with an answer.',
        ),
        maxNewTokens: integer(1, 128, 'Tokens of an answer, at most.'),
      }),
      strategy: slot('strategy', { description: 'What of the model is trained, and how.', shortForms: ['string'] }),
      companions: { ...plugins('strategy', 'Strategies beside the one that owns the parameters.'), default: [] },
      callbacks: plugins('callback', 'What watches the run and takes a hand in it, in this order.'),
      loggers: plugins('logger', 'What writes the run down.'),
      optimizer: slot('optimizer', {
        description: 'What turns gradients into updates.',
        defaultUse: 'adamw',
        shortForms: ['string'],
        flatProperties: {
          learningRate: { type: 'number', exclusiveMinimum: 0, default: 2e-5, description: 'The base learning rate.' },
        },
      }),
      schedule: slot('schedule', {
        description: 'How the learning rate goes from step to step.',
        defaultUse: 'linear',
        shortForms: ['string'],
        flatProperties: {},
      }),
      training,
      stages: stagesSchema(slot),
      output: section({
        folder: optionalPath('Where checkpoints, logs and the result go; null: the run writes nothing.'),
        overwrite: flag(false, 'Delete what an earlier run left in that folder.'),
      }),
    },
  };
}
