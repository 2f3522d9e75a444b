import { batchSchema, qualityGateSchema, type JsonSchema, type PluginKind } from '../contract/index.js';
import { defaultPlugins } from './slots.js';

/** Returns the schema of a key that names a plugin, or of an item of a list of plugins. */
export type SlotSchema = (kind: PluginKind, more?: SlotOptions) => JsonSchema;

export interface SlotOptions {
  readonly description?: string;
  /** The other keys next to `use`, for plugins whose options are next to `use`; absent for options under `options`. */
  readonly flatProperties?: { readonly [key: string]: JsonSchema };
  /** The plugin that is used if the configuration names none. */
  readonly defaultUse?: string;
  /** The forms that are allowed instead of an object. */
  readonly shortForms?: readonly ('string' | 'array' | 'null')[];
}

interface Properties {
  readonly [key: string]: JsonSchema;
}

// The helpers return literal types, so that the types of a configuration follow from its schema (types.ts).
const integer = (minimum: number, value: number, description: string) =>
  ({ type: 'integer', minimum, default: value, description }) as const;
const optionalInteger = (minimum: number, description: string) =>
  ({ type: ['integer', 'null'], minimum, default: null, description }) as const;
const positive = (value: number, description: string) =>
  ({ type: 'number', exclusiveMinimum: 0, default: value, description }) as const;
const flag = (value: boolean, description: string) => ({ type: 'boolean', default: value, description }) as const;
const choice = <const V extends readonly string[]>(values: V, value: V[number], description: string) =>
  ({ type: 'string', enum: values, default: value, description }) as const;
const optionalPath = (description: string) =>
  ({ type: ['string', 'null'], minLength: 1, default: null, description }) as const;
const section = <const P extends Properties>(properties: P, more: JsonSchema = {}) => ({
  ...({ type: 'object', properties, additionalProperties: false, default: {} } as const),
  ...more,
});

const leakage = {
  default: 'error',
  description: 'How to report that the training data contains evaluation data, or nearly the same text.',
  anyOf: [
    { enum: ['error', 'warn', 'off'] },
    {
      type: 'object',
      additionalProperties: false,
      properties: {
        policy: { enum: ['error', 'warn', 'off'], description: 'How to report it; an error by default.' },
        threshold: {
          type: 'number',
          minimum: 0.3,
          maximum: 1,
          description:
            'The minimum Jaccard similarity of 4-character shingles that counts; 0.7 by default. 1: identical ' +
            'texts only, ignoring case, spaces and punctuation.',
        },
      },
    },
  ],
} as const;

const { batchSize, seed, samplingStrategy, completionOnlyLoss, ...sharedWithBatches } = batchSchema.properties;

/** The options of `data` that do not depend on plugins: those of batches, and what is checked before. */
export const dataOptions = {
  ...sharedWithBatches,
  completionOnlyLoss: {
    ...completionOnlyLoss,
    type: ['boolean', 'null'],
    description: `${completionOnlyLoss.description} null is the same as true.`,
  },
  trainSamplingStrategy: samplingStrategy,
  evalShare: {
    type: ['number', 'null'],
    exclusiveMinimum: 0,
    exclusiveMaximum: 1,
    default: null,
    description:
      'Instead of eval: the share of the conversations of the training files that is held out for evaluation. The ' +
      'choice depends only on the conversation and training.dataSeed, so that duplicates are in the same part, and ' +
      'more data moves none to the other.',
  },
  leakage,
  qualityGate: {
    ...qualityGateSchema,
    type: ['object', 'null'],
    default: null,
    minProperties: 1,
    description: 'Requirements that the transformed training data must meet before training starts; null: none.',
  },
} as const;

const dataProperties = (slot: SlotSchema): Properties => ({
  train: slot('data-source', {
    description: 'The training data: a file, a folder, a glob, a list of them, or a data source.',
    shortForms: ['string', 'array'],
  }),
  eval: slot('data-source', {
    description: 'The evaluation data, in the same forms.',
    shortForms: ['string', 'array', 'null'],
  }),
  transforms: {
    type: 'array',
    items: slot('data-transform', { shortForms: ['string'] }),
    default: [],
    description:
      'The transforms that are applied to the conversations before rendering, in order: cleaning, redaction, ' +
      'deduplication, …',
  },
  ...dataOptions,
});

/** The section `training`. */
export const training = section({
  numTrainEpochs: positive(3, 'The number of passes over the training data.'),
  maxSteps: {
    type: 'integer',
    minimum: -1,
    default: -1,
    description: 'The number of optimizer steps, instead of numTrainEpochs; -1: as many as the epochs require.',
  },
  perDeviceTrainBatchSize: integer(1, batchSize.default, 'The number of rows in a training microbatch.'),
  perDeviceEvalBatchSize: integer(1, batchSize.default, 'The number of rows in an evaluation batch.'),
  gradientAccumulationSteps: integer(1, 1, 'The number of microbatches in an optimizer step.'),
  seed: integer(0, seed.default, 'The seed of all random numbers of the run.'),
  dataSeed: optionalInteger(0, 'The seed of the order of the data; null: seed.'),
  loggingSteps: positive(
    1,
    'The number of steps between reads of the loss from the device; below 1: a ratio of all steps.',
  ),
  evalStrategy: choice(
    ['no', 'steps', 'epoch', 'ends'],
    'no',
    'When to evaluate; ends: before the first step and after the last.',
  ),
  evalSteps: {
    type: ['number', 'null'],
    exclusiveMinimum: 0,
    default: null,
    description: 'The number of steps between evaluations; below 1: a ratio of all steps. null: loggingSteps.',
  },
  saveStrategy: choice(['no', 'steps', 'epoch', 'end'], 'steps', 'When to write a checkpoint.'),
  saveSteps: positive(500, 'The number of steps between checkpoints; below 1: a ratio of all steps.'),
  saveTotalLimit: optionalInteger(1, 'The maximum number of checkpoints; older ones are deleted. null: unlimited.'),
  loadBestModelAtEnd: flag(false, 'End the run with the weights of the best evaluation instead of the last weights.'),
  metricForBestModel: {
    type: 'string',
    minLength: 1,
    default: 'loss',
    description: 'The metric of the evaluation report that determines the best weights.',
  },
  greaterIsBetter: {
    type: ['boolean', 'null'],
    default: null,
    description:
      'Whether a greater value of that metric is better; null: false if its name ends in loss or perplexity, ' +
      'else true.',
  },
  resumeFromCheckpoint: {
    type: ['string', 'boolean', 'null'],
    default: null,
    description: 'true: resume from the newest complete checkpoint of the output folder; a path: from that checkpoint.',
  },
  resumeDespite: {
    type: 'array',
    items: { enum: ['data', 'template', 'seed', 'packing', 'length', 'stop'] },
    uniqueItems: true,
    default: [],
    description:
      'What may differ from the run that wrote the checkpoint: the training data and what is supervised in it, the ' +
      'chat template, the seeds, packing, the maximum length. By default a difference is an error. ' +
      'stop: train on, although a callback had stopped the run.',
  },
  maxRollbacks: integer(
    0,
    3,
    'The number of rollbacks of the run that callbacks may request. A further request fails the run.',
  ),
  ddpTimeout: positive(
    1800,
    'With several processes: the number of seconds that a worker waits for the others before the run fails.',
  ),
  ddpBucketCapMb: positive(
    25,
    'With several processes: the maximum size in MiB of the gradients that are summed together during the ' +
      'backward pass.',
  ),
});

/** The options of `backend` in its long form. */
export const backendOptions = {
  name: {
    type: 'string',
    minLength: 1,
    default: 'auto',
    description: 'auto, whetstone, xla, tensorflow (or tfjs-node-gpu, tfjs-node), wasm or cpu.',
  },
  engine: {
    type: ['string', 'null'],
    enum: ['tensorflow', 'xla', null],
    description: 'The engine of the backend whetstone; null: the best one for the machine.',
  },
  devices: optionalInteger(
    1,
    'The number of devices of the engine xla that compute a step together, each with a copy of the model; null: one.',
  ),
  threads: optionalInteger(1, 'The number of threads of a CPU backend; null: one per core.'),
  matmul: choice(
    ['float32', 'bfloat16'],
    'float32',
    'The precision of matmuls. bfloat16 rounds both factors and accumulates in float32. Weights, moments ' +
      'and the loss remain float32.',
  ),
} as const;

/** The options of `evaluation` that do not depend on plugins. */
export const evaluationOptions = {
  replies: integer(
    1,
    32,
    'The maximum number of evaluation conversations for which the model generates a reply: the first that end ' +
      'with a reply.',
  ),
  maxNewTokens: integer(1, 128, 'The maximum number of tokens in a generated reply.'),
} as const;

/** The section `output`. */
export const output = section({
  folder: optionalPath('The folder for checkpoints, logs and the result; null: the run writes nothing.'),
  overwrite: flag(false, 'Delete the contents that an earlier run left in that folder.'),
});

/** The schema of `stages` for editors. Validation checks each stage merged with the shared keys instead. */
function stagesSchema(slot: SlotSchema): JsonSchema {
  const list = (kind: PluginKind): JsonSchema => ({ type: 'array', items: slot(kind, { shortForms: ['string'] }) });
  return {
    type: 'array',
    minItems: 1,
    description:
      'Stages that are trained in order. Each stage starts with the model of the previous one. Keys that a stage ' +
      'does not set are taken from the configuration around stages.',
    items: {
      type: 'object',
      additionalProperties: false,
      properties: {
        name: {
          type: 'string',
          minLength: 1,
          description: "The name of the stage in reports and of the stage's folder.",
        },
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

/**
 * Returns the schema of a configuration.
 *
 * @param slot returns the schemas of the keys that name plugins, which depend on the available plugins
 */
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
      $schema: { type: 'string', description: 'The location of the schema of this file, for editors.' },
      baseFolder: {
        type: 'string',
        minLength: 1,
        description:
          'The folder that relative paths start from and packages are resolved from, instead of the folder of this ' +
          'file.',
      },
      model: slot('model', {
        description: "The folder of a model in Hugging Face's layout, or the name of a fetched model.",
        shortForms: ['string'],
      }),
      chatTemplatePath: optionalPath("The file of a chat template to use instead of the model's own."),
      backend: {
        type: ['string', 'object'],
        minLength: 1,
        properties: backendOptions,
        additionalProperties: false,
        default: {},
        description: 'The tensor backend to compute with.',
      },
      data: section(dataProperties(slot), {
        required: ['train'],
        default: undefined,
        description: 'The data, and how batches are made from it.',
      }),
      evaluation: section({
        metrics: {
          ...plugins(
            'metric',
            'The metrics that every evaluation measures in addition to the loss: chrf, exact-match, … Those that ' +
              "compare the model's own replies with the reference replies let it generate them.",
          ),
          default: [],
        },
        ...evaluationOptions,
      }),
      strategy: slot('strategy', {
        description: 'The strategy that determines which parameters are trained, and how.',
        shortForms: ['string'],
      }),
      companions: {
        ...plugins('strategy', 'Strategies that add a penalty or data to the main strategy.'),
        default: [],
      },
      callbacks: plugins('callback', 'The callbacks that observe or change the run, in order.'),
      loggers: plugins('logger', 'The loggers that record the run.'),
      optimizer: slot('optimizer', {
        description: 'The optimizer that computes updates from gradients.',
        defaultUse: defaultPlugins.optimizer,
        shortForms: ['string'],
        flatProperties: { learningRate: positive(2e-5, 'The base learning rate.') },
      }),
      schedule: slot('schedule', {
        description: 'The schedule of the learning rate.',
        defaultUse: defaultPlugins.schedule,
        shortForms: ['string'],
        flatProperties: {},
      }),
      training,
      stages: stagesSchema(slot),
      output,
    },
  };
}
