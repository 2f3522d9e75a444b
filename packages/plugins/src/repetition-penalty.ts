import {
  clipByValue, expandDims, gatherND, keep, log, matMul, mul, neg, reshape, scalar, scatterND, softmax, square, sub, sum, tensor1d, tensor2d, add, div,
  type Scalar, type Tensor1D, type Tensor2D,
} from '@tensorflow/tfjs-core';
import { definePlugin, type Batch, type Callback, type SupervisedPositions } from '@whetstone/core/contract';
import { customGradient, savedAt } from '@whetstone/core/ops';

const configSchema = {
  type: 'object',
  properties: {
    unlikelihood: { type: 'number', minimum: 0, default: 0.5, description: 'Weight of the unlikelihood of tokens that the reply has already used.' },
    ngram: { type: 'integer', minimum: 1, default: 1, description: '1: every token already used; n: only tokens that would repeat n tokens in a row.' },
    window: { type: 'integer', minimum: 1, default: 64, description: 'How many of the reply\'s last tokens count as used.' },
    diversity: { type: 'number', minimum: 0, default: 0, description: 'Weight of the penalty on replies whose predictions pile up on few tokens.' },
  },
  additionalProperties: false,
} as const;

export interface RepetitionPenaltyOptions {
  readonly unlikelihood?: number;
  readonly ngram?: number;
  readonly window?: number;
  readonly diversity?: number;
}

/** 1 − p is held above this, so that a certain repetition has a finite loss. */
const smallestComplement = 1e-4;

/** Replies among the supervised positions: index of the first position of each, and one past the last. */
export function repliesOf({ positions }: SupervisedPositions, { length }: Pick<Batch, 'length'>, segmentIds: Int32Array): readonly (readonly [number, number])[] {
  const replies: [number, number][] = [];
  for (const [index, position] of positions.entries()) {
    const before = positions[index - 1];
    const goesOn = before !== undefined && position === before + 1 && position % length !== 0 && segmentIds[position] === segmentIds[before];
    const last = replies.at(-1);
    if (goesOn && last !== undefined) last[1] = index + 1;
    else replies.push([index, index + 1]);
  }
  return replies;
}

/**
 * For each target, the tokens that it must not be: those among the reply's last `window` tokens, or, for n-grams, those that would
 * repeat the n − 1 tokens before with the token that then followed. The target itself is never among them.
 */
export function candidatesOf(targets: Int32Array, replies: readonly (readonly [number, number])[], { ngram, window }: { readonly ngram: number; readonly window: number }): readonly (readonly number[])[] {
  const candidates: number[][] = Array.from(targets, () => []);
  for (const [start, end] of replies) {
    for (let at = start + 1; at < end; at += 1) {
      const used = new Set<number>();
      for (let earlier = Math.max(start + ngram - 1, at - window); earlier < at; earlier += 1) {
        let repeats = true;
        for (let back = 1; back < ngram && repeats; back += 1) repeats = at - back >= start && targets[earlier - back] === targets[at - back];
        if (repeats && targets[earlier] !== targets[at]) used.add(targets[earlier] ?? 0);
      }
      candidates[at] = [...used];
    }
  }
  return candidates;
}

/**
 * −Σ log(1 − p(c)) over every position's candidates c (Welleck et al. 2019), in nats. Differentiable once, with respect to the logits
 * [positions, vocabulary].
 */
export function unlikelihood(logits: Tensor2D, candidates: readonly (readonly number[])[]): Scalar {
  const widest = Math.max(1, ...candidates.map((each) => each.length));
  const flat = candidates.flatMap((each, position) => Array.from({ length: widest }, (_, index) => [position, each[index] ?? 0]));
  const counts = candidates.flatMap((each) => Array.from({ length: widest }, (_, index) => (index < each.length ? 1 : 0)));
  const rows = candidates.length;
  return customGradient<Scalar>(
    [logits],
    () => {
      const probabilities = softmax(logits);
      const indices = tensor2d(flat, [flat.length, 2], 'int32');
      const weights = tensor1d(counts, 'float32');
      const chosen = gatherND(probabilities, indices) as Tensor1D;
      const complement = clipByValue(sub(1, chosen), smallestComplement, 1);
      // −log(1 − p) falls by p / (1 − p) a unit of log p; the bound keeps a certain repetition from an infinite pull.
      const coefficients = mul<Tensor1D>(weights, div(chosen, complement));
      return { value: neg(sum(mul(weights, log(complement)))) as Scalar, saved: [probabilities, indices, coefficients] };
    },
    (gradient, saved) => {
      const probabilities = savedAt<Tensor2D>(saved, 0);
      const indices = savedAt<Tensor2D>(saved, 1);
      const coefficients = savedAt<Tensor1D>(saved, 2);
      const scattered = scatterND(indices, coefficients, [rows, probabilities.shape[1]]) as Tensor2D;
      const total = expandDims(sum(reshape(coefficients, [rows, widest]), 1), 1);
      return [mul(gradient, sub(scattered, mul(probabilities, total)))];
    },
  );
}

/** Mean over replies of Σ_v p̄(v)², p̄ the reply's mean prediction: Simpson's index, 1 where all fall on one token. Differentiable. */
export function concentration(logits: Tensor2D, replies: readonly (readonly [number, number])[]): Scalar {
  const positions = logits.shape[0];
  const share = new Float32Array(replies.length * positions);
  for (const [row, [start, end]] of replies.entries()) share.fill(1 / (end - start), row * positions + start, row * positions + end);
  const mean = matMul(tensor2d(share, [replies.length, positions]), softmax(logits));
  return div(sum(square(mean)), replies.length);
}

/**
 * Teaches replies not to repeat themselves: adds to each microbatch's loss the unlikelihood of tokens already used, and a penalty on
 * replies that keep to few tokens. Reports get `unlikelihood` and `concentration`. Against loops in decoding alone, set the repetition
 * penalty of generation instead.
 */
export function createRepetitionPenalty(options: RepetitionPenaltyOptions = {}): Callback {
  const { unlikelihood: unlikelihoodWeight = 0.5, diversity = 0, ngram = 1, window = 64 } = options;
  let weights: { readonly unlikelihood: Scalar; readonly diversity: Scalar } | null = null;
  return {
    addLoss: (logits, { batch, positions, targets, record }) => {
      weights ??= { unlikelihood: keep(scalar(unlikelihoodWeight)), diversity: keep(scalar(diversity)) };
      const replies = repliesOf({ positions, targets }, batch, batch.segmentIds);
      const terms: Scalar[] = [];
      if (unlikelihoodWeight > 0) {
        const mean = div<Scalar>(unlikelihood(logits, candidatesOf(targets, replies, { ngram, window })), targets.length);
        record('unlikelihood', mean);
        terms.push(mul(mean, weights.unlikelihood));
      }
      if (diversity > 0) {
        const index = concentration(logits, replies);
        record('concentration', index);
        terms.push(mul(index, weights.diversity));
      }
      return terms.length === 0 ? undefined : terms.reduce((one, other) => add<Scalar>(one, other));
    },
    dispose: () => {
      weights?.unlikelihood.dispose();
      weights?.diversity.dispose();
      weights = null;
    },
  };
}

export const repetitionPenalty = definePlugin({
  apiVersion: 1,
  kind: 'callback',
  name: 'repetition-penalty',
  description: 'Teaches replies not to repeat themselves: unlikelihood of tokens already used, and a diversity penalty.',
  configSchema,
  create: (options) => createRepetitionPenalty(options),
});
