import * as tf from '@tensorflow/tfjs-core';
import { constant } from './constant.js';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './fused-kernel.js';
import { isKernelRegistered } from './registered-kernel.js';

/**
 * Attention of `query` [batch, queries, headDim] to `key` and `value` [batch, keys, headDim]: `softmax(query · keyᵀ + bias) · value`.
 * The query already carries the scale. `bias` [batch, queries, keys] is 0 where a query may look and very negative elsewhere; it gets no gradient.
 * With `softCap`, scores are squeezed to `softCap · tanh(score / softCap)` before the bias (Gemma 2).
 * `batch` holds rows × key/value heads; queries of the heads that share a key/value head are folded into `queries`.
 *
 * Fused kernels: `WhetstoneAttention {query, key, value, bias; softCap (0: none)}` → [value, saved], `WhetstoneAttentionGrad {gradient, query, key, value, bias, result,
 * saved; softCap}` → [gradient of query, of key, of value].
 */
export function attention(query: tf.Tensor3D, key: tf.Tensor3D, value: tf.Tensor3D, bias: tf.Tensor3D, softCap: number | null): tf.Tensor3D {
  const attributes = { softCap: softCap ?? 0 };
  return customGradient<tf.Tensor3D>(
    [query, key, value],
    () => {
      const fused = fusedKernel('WhetstoneAttention', { query, key, value, bias }, attributes);
      if (fused !== null) {
        const [result, kept] = fused as [tf.Tensor3D, tf.Tensor];
        return { value: result, saved: [query, key, value, result, kept, bias] };
      }
      const raw = tf.matMul(query, key, false, true);
      const squeezed = softCap === null ? null : tf.tanh(tf.mul(raw, constant(1 / softCap)));
      const scores = squeezed === null || softCap === null ? raw : tf.mul(squeezed, constant(softCap));
      const weights = tf.softmax(tf.add(scores, bias));
      const result: tf.Tensor3D = tf.matMul(weights, value);
      return { value: result, saved: [query, key, value, result, weights, ...(squeezed === null ? [] : [squeezed])] };
    },
    (gradient, saved) => {
      const [query, key, value, result, kept] = saved as readonly tf.Tensor3D[] as [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D, tf.Tensor3D, tf.Tensor3D];
      if (isKernelRegistered('WhetstoneAttentionGrad')) {
        const fused = fusedKernel('WhetstoneAttentionGrad', { gradient, query, key, value, bias: savedAt(saved, 5), result, saved: kept }, attributes);
        if (fused !== null) return fused;
      }
      const ofValue = tf.matMul(kept, gradient, true, false);
      // The sum over keys of weight · gradient-of-weight equals the sum over features of result · gradient, which is much shorter.
      const along = tf.sum(tf.mul(gradient, result), -1, true);
      let ofScores: tf.Tensor3D = tf.mul(tf.sub(tf.matMul(gradient, value, false, true), along), kept);
      if (softCap !== null) ofScores = tf.mul(ofScores, tf.sub(constant(1), tf.square(savedAt(saved, 5))));
      return [tf.matMul(ofScores, key), tf.matMul(ofScores, query, true, false), ofValue];
    },
  );
}
