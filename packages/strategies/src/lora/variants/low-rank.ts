import {
  add,
  matMul,
  mul,
  tensor2d,
  tidy,
  transpose,
  type Scalar,
  type Tensor,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import type { LinearForward, LinearSite } from '@whetstone/core/contract';
import { adaptedLinear, addLowRank, type LowRankPair } from '@whetstone/core/ops';
import { createRandom, fillFloat32 } from '@whetstone/core/random';
import type { LoraDropout, LoraLayerInputs } from './variant.js';

/**
 * Returns the initial A, [rank, in]: Kaiming-uniform with a = √5, which is U(±1 ÷ √in), or normal with deviation 1 ÷
 * rank.
 */
export function initialA({ site, rank, initLoraWeights, seed }: LoraLayerInputs): Tensor2D {
  const random = createRandom(seed, `lora_A ${site.name}`);
  const bound = 1 / Math.sqrt(site.inFeatures);
  const draw = initLoraWeights === 'gaussian' ? () => random.normal() / rank : () => (2 * random.uniform() - 1) * bound;
  return tensor2d(fillFloat32(rank * site.inFeatures, draw), [rank, site.inFeatures]);
}

const scaled = (value: Tensor2D, scale: Scalar | null): Tensor2D => (scale === null ? value : mul(value, scale));

/** Computes s·B, [out, rank]. */
export const scaledB = ({ b, scale }: LowRankPair): Tensor2D => scaled(b, scale);

/** Returns the adapter's input with dropout; the input itself if there is no mask. */
export function masked(input: Tensor2D, dropout: LoraDropout | null): Tensor2D {
  const mask = dropout?.(input.shape[0]) ?? null;
  return mask === null ? input : mul<Tensor2D>(input, mask);
}

/** Computes x · Aᵀ · s · Bᵀ, [tokens, out]. The scale is applied to the smaller matrix. */
export function update({ a, b, scale }: LowRankPair, input: Tensor2D): Tensor2D {
  return matMul(scaled(matMul(input, a, false, true), scale), b, false, true);
}

/** Returns base(x) + s·B·A·x. As in PEFT, dropout applies only to the adapter's contribution. */
export const lowRankForward =
  ({ a, b, scale }: LowRankPair, base: LinearForward, dropout: LoraDropout | null): LinearForward =>
  (input) => {
    const adapterInput = masked(input, dropout);
    if (adapterInput === input && base.plain !== undefined) return adaptedLinear(input, base.plain(), { a, b, scale });
    return addLowRank(base(input), adapterInput, a, b, scale);
  };

/** Computes W + s·B·A in the layout of the site's weight. `base` replaces W. The caller owns the result. */
export function mergedWeight(site: LinearSite, { a, b, scale }: LowRankPair, base: Tensor = site.weight): Tensor2D {
  return tidy(() => {
    const product = scaled(matMul(b, a), scale);
    return add<Tensor2D>(base, site.fanInFanOut ? transpose(product) : product);
  });
}
