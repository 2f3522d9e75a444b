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

/** One adapted linear layer. Tensors may be variables; whoever made them owns them. */
export interface LoraLayer {
  readonly site: LinearSite;
  /** [rank, in] */
  readonly a: Tensor2D;
  /** [out, rank] */
  readonly b: Tensor2D;
  readonly scale: number;
  /** The scale as a tensor made once, so that no step uploads it again; null where it is 1. */
  readonly scaleTensor: Scalar | null;
  readonly dora: DoraParts | null;
}

interface DoraParts {
  /** [out] */
  readonly magnitude: Tensor1D;
  /** Σ over the input features of the frozen weight's squares, [out]. */
  readonly weightSquares: Tensor1D;
}

/** Dropout of the adapter's input: gives a mask of zeros and 1 / (1 − p), or null outside training. */
export type LoraDropout = (tokens: number) => Tensor2D | null;

/** What every layer's mask shares: made once, owned by the attachment. */
export interface DropoutConstants {
  readonly rate: Scalar;
  readonly gain: Scalar;
}

/**
 * A dropout mask [tokens, features], made on the device: zeros with probability `rate`, else 1 / (1 − rate). Two
 * numbers of the stream seed it.
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

/** Σ over the input features of the squares of a site's weight, [out]. The caller owns it. */
export function squaresByOutput(site: LinearSite): Tensor1D {
  return tidy(() => sum(square(site.weight), site.fanInFanOut ? 0 : 1));
}

const scaled = (layer: Pick<LoraLayer, 'scaleTensor'>, value: Tensor2D): Tensor2D =>
  layer.scaleTensor === null ? value : mul(value, layer.scaleTensor);

/**
 * Row norms of V = W + s·B·A, [out], without forming V: ‖w‖² + sb·(2·W·Aᵀ + sb·A·Aᵀ), row by row. The backward pass
 * takes it for a constant (section 4.3 of the DoRA paper).
 */
function directionNorm(layer: LoraLayer, { weightSquares }: DoraParts): Tensor1D {
  const compute = (): Tensor1D => {
    const { a, site } = layer;
    const b = scaled(layer, layer.b);
    const cross = matMul(site.weight as unknown as Tensor2D, a, site.fanInFanOut, true);
    const inner = add(add(cross, cross), matMul(b, matMul(a, a, false, true)));
    return sqrt(add(weightSquares, sum(mul(b, inner), 1)));
  };
  return customGrad(() => ({ value: compute(), gradFunc: () => [] }))();
}

/** x · Aᵀ · s · Bᵀ: the scale sits on the narrow side. */
function update(layer: LoraLayer, input: Tensor2D): Tensor2D {
  return matMul(scaled(layer, matMul(input, layer.a, false, true)), layer.b, false, true);
}

/**
 * The adapted layer. LoRA (Hu et al. 2021): base(x) + s·B·A·x. DoRA (Liu et al. 2024): m / ‖V‖ ∘ V·x + bias with
 * V = W + s·B·A; under dropout, as in PEFT, only what the adapter adds sees the dropped input.
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
 * W + s·B·A, under DoRA rescaled to its magnitudes, in the layout of the site's weight. `base` in place of W under
 * PiSSA. The caller owns it.
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
