import * as tf from '@tensorflow/tfjs-core';
import { constant } from './constant.js';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './fused-kernel.js';
import { joinHeads, splitHeads } from './split-heads.js';

/**
 * Attention of `query` [rows, heads, length, headDim] to `key` and `value` [rows, kvHeads, keys, headDim]:
 * `softmax(query · keyᵀ + bias) · value`, as [rows × length, heads × headDim]. The query already carries the scale.
 * Heads share key/value heads in groups: head h looks at h / (heads / kvHeads).
 *
 * `bias` [rows × kvHeads, groups × length, keys] is 0 where a query may look and very negative elsewhere; it gets no
 * gradient. With `softCap`, scores are squeezed to `softCap · tanh(score / softCap)` before the bias (Gemma 2).
 *
 * `blocks` says which keys stretches of positions can see at all, so that a backend with a kernel for it leaves out the
 * rest: half the work under a causal mask. What they leave out has to be hidden by the bias too: the plain operations
 * look at the bias alone.
 *
 * The queries of a group are folded into one axis, so that all is batched products of matrices. Fused kernels, on the
 * folded operands (batch = rows × kvHeads): `WhetstoneAttention {query [batch, queries, d], key, value [batch, keys,
 * d], bias; softCap (0: none), groups, blocks (queries, firstKey and keys of each)}` → [value, kept…], one kept tensor
 * a block; `WhetstoneAttentionGrad {gradient, query, key, value, along [batch, queries, 1], kept0, kept1, …; the same}`
 * → [gradient of query, of key, of value], where `along` is the sum of value · gradient over features.
 */
export function attention(
  query: tf.Tensor4D,
  key: tf.Tensor4D,
  value: tf.Tensor4D,
  bias: tf.Tensor3D,
  softCap: number | null,
  blocks: readonly AttentionBlock[] | null = null,
): tf.Tensor2D {
  const [rows, heads, length, headDim] = query.shape;
  const batch = rows * key.shape[1];
  const form: Form = {
    softCap,
    groups: heads / key.shape[1],
    blocks: blocks ?? [{ queries: length, firstKey: 0, keys: key.shape[2] }],
  };
  const fold = (x: tf.Tensor4D): tf.Tensor3D => tf.reshape(x, [batch, -1, headDim]);
  return customGradient<tf.Tensor2D>(
    [query, key, value],
    () => {
      const operands: Operands = { query: fold(query), key: fold(key), value: fold(value), bias };
      const { result, kept } = attend(operands, form);
      const joined = joinHeads(tf.reshape(result, [rows, heads, length, headDim]));
      return { value: joined, saved: [operands.query, operands.key, operands.value, joined, ...kept] };
    },
    (gradient, saved) => {
      const byHead = splitHeads(gradient, rows, headDim, { groups: form.groups });
      const operands = {
        query: savedAt<tf.Tensor3D>(saved, 0),
        key: savedAt<tf.Tensor3D>(saved, 1),
        value: savedAt<tf.Tensor3D>(saved, 2),
      };
      // The sum over keys of weight · gradient-of-weight equals the sum over features of result · gradient, which is
      // much shorter. Taken of the joined result: the next layer keeps that anyway.
      const along = sumAlong(gradient, savedAt(saved, 3), [rows, length, heads, headDim], batch);
      const [ofQuery, ofKey, ofValue] = attendBackwards(fold(byHead), operands, along, saved.slice(4), form);
      return [tf.reshape(ofQuery, query.shape), tf.reshape(ofKey, key.shape), tf.reshape(ofValue, value.shape)];
    },
  );
}

/**
 * Σ over the features of each head of gradient · result, both [rows × length, heads × headDim], folded as queries are.
 * Fused kernel: `WhetstoneAttentionAlong {gradient, result; rows, headDim, batch}` → [along].
 */
function sumAlong(
  gradient: tf.Tensor2D,
  result: tf.Tensor2D,
  [rows, length, heads, headDim]: [number, number, number, number],
  batch: number,
): tf.Tensor3D {
  const fused = fusedKernel('WhetstoneAttentionAlong', { gradient, result }, { rows, headDim, batch });
  if (fused !== null) return fused[0] as tf.Tensor3D;
  const products = tf.reshape(tf.mul(gradient, result), [rows, length, heads, headDim]);
  return tf.reshape(tf.transpose(tf.sum(products, -1), [0, 2, 1]), [batch, -1, 1]);
}

/** A stretch of query positions, and the keys that any of them may look at. */
export interface AttentionBlock {
  /** Positions in the stretch; stretches follow one another without gaps. */
  readonly queries: number;
  readonly firstKey: number;
  readonly keys: number;
}

/** What besides the operands decides the computation. */
interface Form {
  readonly softCap: number | null;
  readonly groups: number;
  readonly blocks: readonly AttentionBlock[];
}

const attributesOf = ({ softCap, groups, blocks }: Form): tf.NamedAttrMap => ({
  softCap: softCap ?? 0,
  groups,
  blocks: blocks.flatMap(({ queries, firstKey, keys }) => [queries, firstKey, keys]),
});

/** Folded: [batch, queries or keys, headDim]; the bias [batch, queries, keys]. */
interface Operands {
  readonly query: tf.Tensor3D;
  readonly key: tf.Tensor3D;
  readonly value: tf.Tensor3D;
  readonly bias: tf.Tensor3D;
}

/**
 * The result, and what the way back needs besides it: the weights, and with a cap the squeezed scores; or a fused
 * kernel's own.
 */
function attend(
  { query, key, value, bias }: Operands,
  form: Form,
): { readonly result: tf.Tensor3D; readonly kept: readonly tf.Tensor[] } {
  const { softCap } = form;
  const fused = fusedKernel('WhetstoneAttention', { query, key, value, bias }, attributesOf(form));
  if (fused !== null) return { result: fused[0] as tf.Tensor3D, kept: fused.slice(1) };
  const raw: tf.Tensor3D = tf.matMul(query, key, false, true);
  if (softCap === null) {
    const weights = tf.softmax(tf.add(raw, bias)) as tf.Tensor3D;
    return { result: tf.matMul(weights, value), kept: [weights] };
  }
  const squeezed = tf.tanh(tf.mul(raw, constant(1 / softCap)));
  const weights = tf.softmax(tf.add(tf.mul(squeezed, constant(softCap)), bias)) as tf.Tensor3D;
  return { result: tf.matMul(weights, value), kept: [weights, squeezed] };
}

function attendBackwards(
  gradient: tf.Tensor3D,
  { query, key, value }: Omit<Operands, 'bias'>,
  along: tf.Tensor3D,
  kept: readonly tf.Tensor[],
  form: Form,
): readonly [tf.Tensor, tf.Tensor, tf.Tensor] {
  const keptByName = Object.fromEntries(kept.map((tensor, block) => [`kept${block}`, tensor]));
  const fused = fusedKernel(
    'WhetstoneAttentionGrad',
    { gradient, query, key, value, along, ...keptByName },
    attributesOf(form),
  );
  if (fused !== null) return fused as [tf.Tensor, tf.Tensor, tf.Tensor];
  const { softCap } = form;
  const weights = savedAt<tf.Tensor3D>(kept, 0);
  const ofWeights: tf.Tensor3D = tf.mul(tf.sub(tf.matMul(gradient, value, false, true), along), weights);
  const ofScores: tf.Tensor3D =
    softCap === null ? ofWeights : tf.mul(ofWeights, tf.sub(constant(1), tf.square(savedAt(kept, 1))));
  return [tf.matMul(ofScores, key), tf.matMul(ofScores, query, true, false), tf.matMul(weights, gradient, true, false)];
}
