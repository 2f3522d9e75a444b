import {
  clipByValue,
  div,
  expandDims,
  gatherND,
  log,
  matMul,
  mul,
  neg,
  reshape,
  scatterND,
  softmax,
  square,
  sub,
  sum,
  tensor1d,
  tensor2d,
  type Scalar,
  type Tensor1D,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { customGradient, savedAt } from '@whetstone/core/ops';
import type { Span } from './candidates.js';

/** Lower bound of 1 − p, so that the loss is finite if the model is certain to repeat. */
const smallestComplement = 1e-4;

/**
 * Returns −Σ log(1 − p(c)) over the candidates c of all positions (Welleck et al. 2019), in nats. Differentiable once,
 * with respect to the logits [positions, vocabulary].
 */
export function unlikelihood(logits: Tensor2D, candidates: readonly (readonly number[])[]): Scalar {
  const widest = Math.max(1, ...candidates.map((each) => each.length));
  const flat = candidates.flatMap((each, position) =>
    Array.from({ length: widest }, (_, index) => [position, each[index] ?? 0]),
  );
  const counts = candidates.flatMap((each) =>
    Array.from({ length: widest }, (_, index) => (index < each.length ? 1 : 0)),
  );
  const rows = candidates.length;
  return customGradient<Scalar>(
    [logits],
    () => {
      const probabilities = softmax(logits);
      const indices = tensor2d(flat, [flat.length, 2], 'int32');
      const weights = tensor1d(counts, 'float32');
      const chosen = gatherND(probabilities, indices) as Tensor1D;
      const complement = clipByValue(sub(1, chosen), smallestComplement, 1);
      // The slope of −log(1 − p) with respect to log p is p / (1 − p). The lower bound keeps it finite.
      const coefficients = mul<Tensor1D>(weights, div(chosen, complement));
      return {
        value: neg(sum(mul(weights, log(complement)))) as Scalar,
        saved: [probabilities, indices, coefficients],
      };
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

/**
 * Returns the mean over replies of Σ_v p̄(v)², where p̄ is the reply's mean prediction: Simpson's index, 1 if all
 * predictions are the same token. Differentiable.
 */
export function concentration(logits: Tensor2D, replies: readonly Span[]): Scalar {
  const positions = logits.shape[0];
  const share = new Float32Array(replies.length * positions);
  for (const [row, [start, end]] of replies.entries())
    share.fill(1 / (end - start), row * positions + start, row * positions + end);
  const mean = matMul(tensor2d(share, [replies.length, positions]), softmax(logits));
  return div(sum(square(mean)), replies.length);
}
