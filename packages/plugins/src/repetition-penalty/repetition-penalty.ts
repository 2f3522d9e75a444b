import { add, div, keep, mul, scalar, type Scalar } from '@tensorflow/tfjs-core';
import type { Callback } from '@whetstone/core/contract';
import { candidatesOf, repliesOf } from './candidates.js';
import { createOwnReplies, type OwnRepliesOptions } from './own-replies.js';
import { concentration, unlikelihood } from './terms.js';

export interface RepetitionPenaltyOptions {
  readonly unlikelihood?: number;
  readonly ngram?: number;
  readonly window?: number;
  readonly diversity?: number;
  readonly generated?: Partial<OwnRepliesOptions> | null;
}

/**
 * Creates a callback that trains the model not to repeat itself. It adds terms to each microbatch's loss: the
 * unlikelihood of tokens already used, a penalty on predictions that concentrate on few tokens, and the unlikelihood of
 * repeated n-grams in the model's own replies.
 *
 * Reports get `unlikelihood`, `concentration`, `ownUnlikelihood` and `ownRepetition` (the share of repeated n-grams).
 * To avoid loops only in decoding, set the repetition penalty of generation instead.
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
    const stored = weights.get(weight) ?? keep(scalar(weight));
    weights.set(weight, stored);
    return stored;
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
