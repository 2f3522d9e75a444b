import {
  add,
  matMul,
  mul,
  reshape,
  softmax,
  square,
  sub,
  sum,
  tanh,
  transpose,
  type NamedAttrMap,
  type Tensor,
  type Tensor2D,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { constant } from './recording.js';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './kernels.js';
import { joinHeads, splitHeads } from './heads.js';

/**
 * Computes the attention of `query` [rows, heads, length, headDim] to `key` and `value` [rows, kvHeads, keys, headDim]:
 * `softmax(query · keyᵀ + bias) · value`, as [rows × length, heads × headDim]. The query is already scaled. Heads share
 * key/value heads in groups: head h uses key/value head h / (heads / kvHeads).
 *
 * `bias` [rows × kvHeads, groups × length, keys] is 0 for visible keys and very negative for masked ones; it has no
 * gradient. With `softCap`, scores become `softCap · tanh(score / softCap)` before the bias is added (Gemma 2).
 *
 * `blocks` lists the visible keys of ranges of queries, so that a fused kernel can skip the others: half of the work
 * with a causal mask. The bias must mask the skipped keys, too, because the plain operations use only the bias.
 *
 * The queries of a group are folded into one axis, so that everything is batched matmuls. Fused kernels, on the folded
 * operands (batch = rows × kvHeads): `WhetstoneAttention {query [batch, queries, d], key, value [batch, keys, d], bias;
 * softCap (0: none), groups, blocks (queries, firstKey and keys of each)}` → [value, kept…], one kept tensor per block;
 * `WhetstoneAttentionGrad {gradient, query, key, value, along [batch, queries, 1], kept0, kept1, …; the same}` →
 * [gradient of query, of key, of value], where `along` is the sum of value · gradient over features.
 */
export function attention(
  query: Tensor4D,
  key: Tensor4D,
  value: Tensor4D,
  bias: Tensor3D,
  softCap: number | null,
  blocks: readonly AttentionBlock[] | null = null,
): Tensor2D {
  const [rows, heads, length, headDim] = query.shape;
  const batch = rows * key.shape[1];
  const form: Form = {
    softCap,
    groups: heads / key.shape[1],
    blocks: blocks ?? [{ queries: length, firstKey: 0, keys: key.shape[2] }],
  };
  const fold = (x: Tensor4D): Tensor3D => reshape(x, [batch, -1, headDim]);
  return customGradient<Tensor2D>(
    [query, key, value],
    () => {
      const operands: Operands = { query: fold(query), key: fold(key), value: fold(value), bias };
      const { result, kept } = attend(operands, form);
      const joined = joinHeads(reshape(result, [rows, heads, length, headDim]));
      return { value: joined, saved: [operands.query, operands.key, operands.value, joined, ...kept] };
    },
    (gradient, saved) => {
      const byHead = splitHeads(gradient, rows, headDim, { groups: form.groups });
      const operands = {
        query: savedAt<Tensor3D>(saved, 0),
        key: savedAt<Tensor3D>(saved, 1),
        value: savedAt<Tensor3D>(saved, 2),
      };
      // The sum over keys of weight · gradient-of-weight equals the sum over features of result · gradient, which is
      // much shorter. It uses the joined result, because the next layer saves that anyway.
      const along = sumAlong(gradient, savedAt(saved, 3), [rows, length, heads, headDim], batch);
      const [ofQuery, ofKey, ofValue] = attendBackward(fold(byHead), operands, along, saved.slice(4), form);
      return [reshape(ofQuery, query.shape), reshape(ofKey, key.shape), reshape(ofValue, value.shape)];
    },
  );
}

/**
 * Returns the sum of gradient · result over the features of each head, folded like the queries. Both are [rows ×
 * length, heads × headDim]. Fused kernel: `WhetstoneAttentionAlong {gradient, result; rows, headDim, batch}` →
 * [along].
 */
function sumAlong(
  gradient: Tensor2D,
  result: Tensor2D,
  [rows, length, heads, headDim]: [number, number, number, number],
  batch: number,
): Tensor3D {
  const fused = fusedKernel('WhetstoneAttentionAlong', { gradient, result }, { rows, headDim, batch });
  if (fused !== null) return fused[0] as Tensor3D;
  const products = reshape(mul(gradient, result), [rows, length, heads, headDim]);
  return reshape(transpose(sum(products, -1), [0, 2, 1]), [batch, -1, 1]);
}

/** A range of query positions, and the range of keys that any of them may attend to. */
export interface AttentionBlock {
  /** Number of positions in the range. Ranges are consecutive. */
  readonly queries: number;
  readonly firstKey: number;
  readonly keys: number;
}

/** The parameters of the computation, in addition to its operands. */
interface Form {
  readonly softCap: number | null;
  readonly groups: number;
  readonly blocks: readonly AttentionBlock[];
}

const attributesOf = ({ softCap, groups, blocks }: Form): NamedAttrMap => ({
  softCap: softCap ?? 0,
  groups,
  blocks: blocks.flatMap(({ queries, firstKey, keys }) => [queries, firstKey, keys]),
});

/** The folded operands: [batch, queries or keys, headDim]; the bias is [batch, queries, keys]. */
interface Operands {
  readonly query: Tensor3D;
  readonly key: Tensor3D;
  readonly value: Tensor3D;
  readonly bias: Tensor3D;
}

/**
 * Computes the result and the tensors to save for the backward pass: the weights and, with a cap, the capped scores; or
 * those of the fused kernel.
 */
function attend(
  { query, key, value, bias }: Operands,
  form: Form,
): { readonly result: Tensor3D; readonly kept: readonly Tensor[] } {
  const { softCap } = form;
  const fused = fusedKernel('WhetstoneAttention', { query, key, value, bias }, attributesOf(form));
  if (fused !== null) return { result: fused[0] as Tensor3D, kept: fused.slice(1) };
  const raw: Tensor3D = matMul(query, key, false, true);
  if (softCap === null) {
    const weights = softmax(add(raw, bias)) as Tensor3D;
    return { result: matMul(weights, value), kept: [weights] };
  }
  const capped = tanh(mul(raw, constant(1 / softCap)));
  const weights = softmax(add(mul(capped, constant(softCap)), bias)) as Tensor3D;
  return { result: matMul(weights, value), kept: [weights, capped] };
}

function attendBackward(
  gradient: Tensor3D,
  { query, key, value }: Omit<Operands, 'bias'>,
  along: Tensor3D,
  kept: readonly Tensor[],
  form: Form,
): readonly [Tensor, Tensor, Tensor] {
  const keptByName = Object.fromEntries(kept.map((tensor, block) => [`kept${block}`, tensor]));
  const fused = fusedKernel(
    'WhetstoneAttentionGrad',
    { gradient, query, key, value, along, ...keptByName },
    attributesOf(form),
  );
  if (fused !== null) return fused as [Tensor, Tensor, Tensor];
  const { softCap } = form;
  const weights = savedAt<Tensor3D>(kept, 0);
  const ofWeights: Tensor3D = mul(sub(matMul(gradient, value, false, true), along), weights);
  const ofScores: Tensor3D = softCap === null ? ofWeights : mul(ofWeights, sub(constant(1), square(savedAt(kept, 1))));
  return [matMul(ofScores, key), matMul(ofScores, query, true, false), matMul(weights, gradient, true, false)];
}
