import { add, div, mul, type Scalar } from '@tensorflow/tfjs-core';
import { defaultsOf, type Callback } from '@whetstone/core/contract';
import { createScalars } from '@whetstone/core/ops';
import { candidatesOf, repliesOf } from './candidates.js';
import { checkRepetitionPenalty } from './check-run.js';
import { configSchema, generated, type OwnRepliesOptions, type RepetitionPenaltyOptions } from './options.js';
import { createOwnReplies } from './own-replies.js';
import { concentration, unlikelihood } from './terms.js';

/**
 * Creates a callback that trains the model not to repeat itself. It adds terms to each microbatch's loss: the
 * unlikelihood of tokens already used, a penalty on predictions that concentrate on few tokens, and the unlikelihood of
 * repeated n-grams in the model's own replies.
 *
 * Reports get `unlikelihood`, `concentration`, `ownUnlikelihood` and `ownRepetition` (the share of repeated n-grams).
 * To avoid loops only in decoding, set the repetition penalty of generation instead.
 */
export function createRepetitionPenalty(
  options: Partial<Omit<RepetitionPenaltyOptions, 'generated'>> & {
    readonly generated?: Partial<OwnRepliesOptions> | null;
  } = {},
): Callback {
  const {
    unlikelihood: unlikelihoodWeight,
    diversity,
    ngram,
    window,
    generated: given,
  } = { ...defaultsOf(configSchema), ...options };
  const own = given === null ? null : { ...defaultsOf(generated), ...given };
  const replies = own === null ? null : createOwnReplies(own);
  const weights = createScalars();
  const callback: Callback = {
    requests: [],
    checkRun: (run) => checkRepetitionPenalty({ ...defaultsOf(configSchema), ...options, generated: own }, run),
    addLoss: (logits, { batch, positions, targets, record }) => {
      const spans = repliesOf({ positions, targets }, batch, batch.segmentIds);
      const terms: Scalar[] = [];
      const addTerm = (name: string, value: Scalar, weight: number): void => {
        record(name, value);
        terms.push(mul(value, weights(weight)));
      };
      // The first step makes the tensor, whether it has candidates or not.
      weights(unlikelihoodWeight);
      const candidates = unlikelihoodWeight > 0 ? candidatesOf(targets, spans, { ngram, window }) : [];
      if (candidates.some((each) => each.length > 0))
        addTerm('unlikelihood', div<Scalar>(unlikelihood(logits, candidates), targets.length), unlikelihoodWeight);
      else if (unlikelihoodWeight > 0) record('unlikelihood', 0);
      if (diversity > 0) addTerm('concentration', concentration(logits, spans), diversity);
      const ofOwn = replies?.term() ?? null;
      if (ofOwn !== null && own !== null) addTerm('ownUnlikelihood', ofOwn, own.weight);
      return terms.length === 0 ? undefined : terms.reduce((one, other) => add<Scalar>(one, other));
    },
    dispose: weights.dispose,
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
