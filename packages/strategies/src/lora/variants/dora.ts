import {
  add,
  customGrad,
  div,
  expandDims,
  matMul,
  mul,
  sqrt,
  square,
  sub,
  sum,
  tidy,
  zeros,
  type Rank,
  type Tensor1D,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import type { LinearForward, LinearSite } from '@whetstone/core/contract';
import type { LowRankPair } from '@whetstone/core/ops';
import { lora } from './lora.js';
import { initialA, masked, mergedWeight, scaledB, update } from './low-rank.js';
import type { LoraDropout, LoraVariant } from './variant.js';

/** The tensors of a DoRA layer. */
interface DoraTensors extends LowRankPair {
  readonly site: LinearSite;
  /** [out] */
  readonly magnitude: Tensor1D;
  /** Sum of squares of the frozen weight over the input features, [out]. */
  readonly weightSquares: Tensor1D;
}

/** Computes the sum of squares of a site's weight over the input features, [out]. The caller owns the result. */
function squaresByOutput(site: LinearSite): Tensor1D {
  return tidy(() => sum(square(site.weight), site.fanInFanOut ? 0 : 1));
}

/**
 * Computes the row norms of V = W + s·B·A, [out], without creating V: the root of ‖w‖² + sb·(2·W·Aᵀ + sb·A·Aᵀ) per row.
 * The backward pass treats the norms as constants (section 4.3 of the DoRA paper).
 */
function directionNorm(tensors: DoraTensors, weight: Tensor2D): Tensor1D {
  const compute = (): Tensor1D => {
    const { a, site, weightSquares } = tensors;
    const b = scaledB(tensors);
    const cross = matMul(weight, a, site.fanInFanOut, true);
    const inner = add(add(cross, cross), matMul(b, matMul(a, a, false, true)));
    return sqrt(add(weightSquares, sum(mul(b, inner), 1)));
  };
  return customGrad(() => ({ value: compute(), gradFunc: () => [] }))();
}

/** Returns m ÷ ‖V‖, [out]. */
const magnitudeRatio = (tensors: DoraTensors, weight: Tensor2D): Tensor1D =>
  div<Tensor1D>(tensors.magnitude, directionNorm(tensors, weight));

const storedWeight = ({ weight }: LinearSite): Tensor2D => weight as unknown as Tensor2D;

/** Returns m ÷ ‖V‖ ∘ V·x + bias. As in PEFT, dropout applies only to the adapter's contribution. */
const forward =
  (tensors: DoraTensors, base: LinearForward, dropout: LoraDropout | null): LinearForward =>
  (input) => {
    const { site } = tensors;
    // A head that is no longer tied computes with another weight than the stored one.
    const weight = base.plain?.().weight ?? storedWeight(site);
    const adapterInput = masked(input, dropout);
    const ratio = magnitudeRatio(tensors, weight);
    if (adapterInput !== input) {
      const weighed = matMul(adapterInput, weight, false, !site.fanInFanOut);
      return add(sub(base(input), weighed), mul(ratio, add(weighed, update(tensors, adapterInput))));
    }
    const result = base(input);
    if (site.bias === null) return mul(ratio, add(result, update(tensors, input)));
    return add(mul(ratio, add(sub(result, site.bias), update(tensors, input))), site.bias);
  };

/** DoRA (Liu et al. 2024): y = m ÷ ‖V‖ ∘ V·x with V = W + s·B·A. The magnitudes m are those of W at first. */
export const dora: LoraVariant = {
  peftType: 'LORA',
  selects: ({ useDora }) => useDora,
  shapes: { ...lora.shapes, lora_magnitude_vector: ({ outFeatures }) => [outFeatures] },
  init: (inputs) => {
    const { site, rank, scaleTensor, tensor } = inputs;
    const weightSquares = squaresByOutput(site);
    const tensors: DoraTensors = {
      site,
      a: tensor('lora_A.weight', () => initialA(inputs)),
      b: tensor('lora_B.weight', () => zeros<Rank.R2>([site.outFeatures, rank])),
      scale: scaleTensor,
      magnitude: tensor('lora_magnitude_vector', () => tidy(() => sqrt(weightSquares))),
      weightSquares,
    };
    return {
      site,
      forward: (base, dropout) => forward(tensors, base, dropout),
      merge: () =>
        tidy(() => {
          const ratio = magnitudeRatio(tensors, storedWeight(site));
          return mul<Tensor2D>(mergedWeight(site, tensors), site.fanInFanOut ? ratio : expandDims(ratio, 1));
        }),
      dispose: () => weightSquares.dispose(),
    };
  },
};
