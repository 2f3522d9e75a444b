import type { FromSchema } from '@whetstone/core/contract';

/** The schema of the options of the loss on the model's own replies. */
export const generated = {
  type: ['object', 'null'],
  default: null,
  description:
    "Unlikelihood loss on repetitions in the model's own greedy replies, which are generated again during " +
    'training. It breaks loops if the replies of the data are short.',
  properties: {
    weight: { type: 'number', exclusiveMinimum: 0, default: 0.3, description: 'Weight of the loss term.' },
    ngram: {
      type: 'integer',
      minimum: 1,
      default: 4,
      description: 'Length of the repeated n-grams whose tokens are penalized.',
    },
    maxNewTokens: { type: 'integer', minimum: 2, default: 64, description: 'Maximum number of tokens of a reply.' },
    pool: { type: 'integer', minimum: 1, default: 12, description: 'Number of replies generated at once.' },
    everySteps: {
      type: 'integer',
      minimum: 1,
      default: 6,
      description: 'Number of steps after which the replies are generated again.',
    },
    perMicrobatch: {
      type: 'integer',
      minimum: 1,
      default: 3,
      description: 'Number of replies used per microbatch, in turn.',
    },
    prompts: {
      type: ['array', 'null'],
      items: { type: 'string', minLength: 1 },
      minItems: 1,
      default: null,
      description: 'Prompts for the replies. By default, the prompts of the training data.',
    },
  },
  additionalProperties: false,
} as const;

/** The schema of the options of `repetition-penalty`. */
export const configSchema = {
  type: 'object',
  properties: {
    unlikelihood: {
      type: 'number',
      minimum: 0,
      default: 0.5,
      description: 'Weight of the unlikelihood loss on tokens that the reply has already used.',
    },
    ngram: {
      type: 'integer',
      minimum: 1,
      default: 1,
      description: '1: all tokens already used; n: only tokens that would repeat an n-gram of the reply.',
    },
    window: {
      type: 'integer',
      minimum: 1,
      default: 64,
      description: 'Number of preceding tokens of the reply that count as used.',
    },
    diversity: {
      type: 'number',
      minimum: 0,
      default: 0,
      description: 'Weight of the penalty on replies whose predictions concentrate on few tokens.',
    },
    generated,
  },
  additionalProperties: false,
} as const;

/** The options of `repetition-penalty`. */
export type RepetitionPenaltyOptions = FromSchema<typeof configSchema>;

/** The options of the loss on the model's own replies. */
export type OwnRepliesOptions = NonNullable<FromSchema<typeof generated>>;
