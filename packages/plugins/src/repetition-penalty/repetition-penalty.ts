import { add, div, keep, mul, scalar, type Scalar } from '@tensorflow/tfjs-core';
import { definePlugin, type Callback } from '@whetstone/core/contract';
import { candidatesOf, repliesOf } from './candidates.js';
import { createOwnReplies, type OwnRepliesOptions } from './own-replies.js';
import { concentration, unlikelihood } from './terms.js';

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

export interface RepetitionPenaltyOptions {
  readonly unlikelihood?: number;
  readonly ngram?: number;
  readonly window?: number;
  readonly diversity?: number;
  readonly generated?: Partial<OwnRepliesOptions> | null;
}

/**
 * Teaches replies not to repeat themselves: adds to each microbatch's loss the unlikelihood of tokens already used, a
 * penalty on replies that keep to few tokens, and the unlikelihood of repeated n-grams in the model's own replies.
 * Reports get `unlikelihood`, `concentration`, `ownUnlikelihood` and `ownRepetition` (the share of repeated n-grams).
 * Against loops in decoding alone, set the repetition penalty of generation instead.
 */
export function createRepetitionPenalty(options: RepetitionPenaltyOptions = {}): Callback {
  const { unlikelihood: unlikelihoodWeight = 0.5, diversity = 0, ngram = 1, window = 64, generated = null } = options;
  const own =
    generated === null
      ? null
      : {
          weight: 0.3,
          ngram: 4,
          maxNewTokens: 64,
          pool: 12,
          everySteps: 6,
          perMicrobatch: 3,
          prompts: null,
          ...generated,
        };
  const replies = own === null ? null : createOwnReplies(own);
  const weights = new Map<number, Scalar>();
  const weightOf = (weight: number): Scalar => {
    const kept = weights.get(weight) ?? keep(scalar(weight));
    weights.set(weight, kept);
    return kept;
  };
  const callback: Callback = {
    addLoss: (logits, { batch, positions, targets, record }) => {
      const spans = repliesOf({ positions, targets }, batch, batch.segmentIds);
      const terms: Scalar[] = [];
      const addTerm = (name: string, value: Scalar, weight: number): void => {
        record(name, value);
        terms.push(mul(value, weightOf(weight)));
      };
      if (unlikelihoodWeight > 0)
        addTerm(
          'unlikelihood',
          div<Scalar>(unlikelihood(logits, candidatesOf(targets, spans, { ngram, window })), targets.length),
          unlikelihoodWeight,
        );
      if (diversity > 0) addTerm('concentration', concentration(logits, spans), diversity);
      const ofOwn = replies?.term() ?? null;
      if (ofOwn !== null && own !== null) addTerm('ownUnlikelihood', ofOwn, own.weight);
      return terms.length === 0 ? undefined : terms.reduce((one, other) => add<Scalar>(one, other));
    },
    dispose: () => {
      for (const weight of weights.values()) weight.dispose();
      weights.clear();
    },
  };
  if (replies === null) return callback;
  return {
    ...callback,
    onRunStart: ({ loaded }) => {
      if (loaded !== undefined) replies.start(loaded);
    },
    onStepStart: (step) => replies.prepare(step),
    transformBatch: (batch, { record }) => {
      replies.see(batch);
      if (replies.rate !== null) record('ownRepetition', replies.rate);
      return batch;
    },
    saveState: () => replies.saveState(),
    loadState: (state) => replies.loadState(state),
  };
}

export const repetitionPenalty = definePlugin({
  apiVersion: 1,
  kind: 'callback',
  name: 'repetition-penalty',
  description:
    'Teaches replies not to repeat themselves: unlikelihood of tokens already used, a diversity penalty, and ' +
    "the model's own replies to learn from.",
  configSchema,
  create: (options) => createRepetitionPenalty(options),
});
