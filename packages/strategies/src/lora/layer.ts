import {
  add,
  cast,
  customGrad,
  div,
  expandDims,
  greaterEqual,
  matMul,
  mul,
  sqrt,
  square,
  sub,
  sum,
  tidy,
  transpose,
} from '@tensorflow/tfjs-core';
import type { Scalar, Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import type { LinearForward, LinearSite } from '@whetstone/core/contract';
import { adaptedLinear, addLowRank, randomUniform } from '@whetstone/core/ops';
import type { Random } from '@whetstone/core/random';

/** One adapted linear layer. Its tensors may be variables and belong to the caller. */
export interface LoraLayer {
  readonly site: LinearSite;
  /** [rank, in] */
  readonly a: Tensor2D;
  /** [out, rank] */
  readonly b: Tensor2D;
  readonly scale: number;
  /** The scale as a tensor, so that it is uploaded only once; null if the scale is 1. */
  readonly scaleTensor: Scalar | null;
  readonly dora: DoraTensors | null;
}

interface DoraTensors {
  /** [out] */
  readonly magnitude: Tensor1D;
  /** Sum of squares of the frozen weight over the input features, [out]. */
  readonly weightSquares: Tensor1D;
}

/** Returns a dropout mask for the adapter's input with values 0 and 1 ÷ (1 − p); null outside of training. */
export type LoraDropout = (tokens: number) => Tensor2D | null;

/** Tensors that the masks of all layers share; the attachment owns them. */
export interface DropoutConstants {
  readonly rate: Scalar;
  readonly gain: Scalar;
}

/**
 * Creates a dropout mask [tokens, features] on the device: 0 with probability `rate`, otherwise 1 ÷ (1 − rate). Two
 * numbers of `random` seed it.
 */
export function dropoutMask(
  tokens: number,
  features: number,
  random: Random,
  { rate, gain }: DropoutConstants,
): Tensor2D {
  const uniform = randomUniform([tokens, features], [random.integer(2 ** 31), random.integer(2 ** 31)]);
  return mul(cast(greaterEqual(uniform, rate), 'float32'), gain);
}

/** Computes the sum of squares of a site's weight over the input features, [out]. The caller owns the result. */
export function squaresByOutput(site: LinearSite): Tensor1D {
  return tidy(() => sum(square(site.weight), site.fanInFanOut ? 0 : 1));
}

const scaled = (layer: Pick<LoraLayer, 'scaleTensor'>, value: Tensor2D): Tensor2D =>
  layer.scaleTensor === null ? value : mul(value, layer.scaleTensor);

/**
 * Computes the row norms of V = W + s·B·A, [out], without creating V: the root of ‖w‖² + sb·(2·W·Aᵀ + sb·A·Aᵀ) per row.
 * The backward pass treats the norms as constants (section 4.3 of the DoRA paper).
 */
function directionNorm(layer: LoraLayer, { weightSquares }: DoraTensors): Tensor1D {
  const compute = (): Tensor1D => {
    const { a, site } = layer;
    const b = scaled(layer, layer.b);
    const cross = matMul(site.weight as unknown as Tensor2D, a, site.fanInFanOut, true);
    const inner = add(add(cross, cross), matMul(b, matMul(a, a, false, true)));
    return sqrt(add(weightSquares, sum(mul(b, inner), 1)));
  };
  return customGrad(() => ({ value: compute(), gradFunc: () => [] }))();
}

/** Computes x · Aᵀ · s · Bᵀ, [tokens, out]. The scale is applied to the smaller matrix. */
function update(layer: LoraLayer, input: Tensor2D): Tensor2D {
  return matMul(scaled(layer, matMul(input, layer.a, false, true)), layer.b, false, true);
}

/**
 * Returns the computation of an adapted layer. LoRA (Hu et al. 2021): base(x) + s·B·A·x. DoRA (Liu et al. 2024):
 * m ÷ ‖V‖ ∘ V·x + bias with V = W + s·B·A. As in PEFT, dropout applies only to the adapter's contribution.
 */
export function adaptedForward(layer: LoraLayer, base: LinearForward, dropout: LoraDropout | null): LinearForward {
  return (input) => {
    const mask = dropout?.(input.shape[0]) ?? null;
    const adapterInput = mask === null ? input : mul<Tensor2D>(input, mask);
    const { dora, site } = layer;
    if (dora === null && mask === null && base.plain !== undefined)
      return adaptedLinear(input, base.plain(), { a: layer.a, b: layer.b, scale: layer.scaleTensor });
    if (dora === null) return addLowRank(base(input), adapterInput, layer.a, layer.b, layer.scaleTensor);
    const ratio = div<Tensor1D>(dora.magnitude, directionNorm(layer, dora));
    if (mask !== null) {
      const weighed = matMul(adapterInput, site.weight as unknown as Tensor2D, false, !site.fanInFanOut);
      return add(sub(base(input), weighed), mul(ratio, add(weighed, update(layer, adapterInput))));
    }
    const result = base(input);
    if (site.bias === null) return mul(ratio, add(result, update(layer, input)));
    return add(mul(ratio, add(sub(result, site.bias), update(layer, input))), site.bias);
  };
}

/**
 * Computes W + s·B·A in the layout of the site's weight; DoRA rescales it to the magnitudes. With PiSSA, `base`
 * replaces W. The caller owns the result.
 */
export function mergedWeight(layer: LoraLayer, base: Tensor = layer.site.weight): Tensor2D {
  return tidy(() => {
    const { site, dora } = layer;
    const product = scaled(layer, matMul(layer.b, layer.a));
    const merged = add<Tensor2D>(base, site.fanInFanOut ? transpose(product) : product);
    if (dora === null) return merged;
    const ratio = div<Tensor1D>(dora.magnitude, directionNorm(layer, dora));
    return mul(merged, site.fanInFanOut ? ratio : expandDims(ratio, 1));
  });
}
