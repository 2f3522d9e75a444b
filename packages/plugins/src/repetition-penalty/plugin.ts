import { definePlugin } from '@whetstone/core/contract';

const configSchema = {
  type: 'object',
  properties: {
    unlikelihood: {
      type: 'number',
      minimum: 0,
      default: 0.5,
      description: 'Weight of the unlikelihood of tokens that the reply has already used.',
    },
    ngram: {
      type: 'integer',
      minimum: 1,
      default: 1,
      description: '1: every token already used; n: only tokens that would repeat n tokens in a row.',
    },
    window: {
      type: 'integer',
      minimum: 1,
      default: 64,
      description: "How many of the reply's last tokens count as used.",
    },
    diversity: {
      type: 'number',
      minimum: 0,
      default: 0,
      description: 'Weight of the penalty on replies whose predictions pile up on few tokens.',
    },
    generated: {
      type: ['object', 'null'],
      default: null,
      description:
        "Unlikelihood of what repeats itself in the model's own greedy replies, made anew as it learns; what " +
        "breaks loops where the data's replies are short.",
      properties: {
        weight: { type: 'number', exclusiveMinimum: 0, default: 0.3, description: 'Weight of the term.' },
        ngram: {
          type: 'integer',
          minimum: 1,
          default: 4,
          description: 'Tokens of n-grams that stood in the reply before are made unlikely.',
        },
        maxNewTokens: { type: 'integer', minimum: 2, default: 64, description: 'How long a reply may get.' },
        pool: { type: 'integer', minimum: 1, default: 12, description: 'How many replies are made at once.' },
        everySteps: {
          type: 'integer',
          minimum: 1,
          default: 6,
          description: 'After how many steps they are made anew.',
        },
        perMicrobatch: {
          type: 'integer',
          minimum: 1,
          default: 3,
          description: 'How many of them, in turn, each microbatch learns from.',
        },
        prompts: {
          type: ['array', 'null'],
          items: { type: 'string', minLength: 1 },
          minItems: 1,
          default: null,
          description: 'What the model is asked; by default what stands before the replies of the training data.',
        },
      },
      additionalProperties: false,
    },
  },
  additionalProperties: false,
} as const;

/** The callback `repetition-penalty`: trains against repetition within replies. */
export const repetitionPenalty = definePlugin({
  apiVersion: 1,
  kind: 'callback',
  name: 'repetition-penalty',
  description:
    'Teaches replies not to repeat themselves: unlikelihood of tokens already used, a diversity penalty, and ' +
    "the model's own replies to learn from.",
  configSchema,
  create: async (options) => {
    const { createRepetitionPenalty } = await import('./repetition-penalty.js');
    return createRepetitionPenalty(options);
  },
});
