import { tensor, tidy, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import type { ForwardInput, LanguageModel } from '@whetstone/core/contract';
import { storeBfloat16 } from '@whetstone/core/ops';
import { createRandom } from '@whetstone/core/random';
import { narrow, widen, type WeightDtype } from '@whetstone/core/safetensors';

const ROWS = 4;
const LENGTH = 32;

/** Returns rows of random tokens, which are equal for all models with the same vocabulary size. */
function probeTokens({ vocabularySize, maxLength }: LanguageModel): ForwardInput {
  const random = createRandom(0, 'merge probe');
  const length = Math.min(LENGTH, maxLength);
  return {
    rows: ROWS,
    length,
    ids: Int32Array.from({ length: ROWS * length }, () => random.integer(vocabularySize)),
    segmentIds: new Int32Array(ROWS * length).fill(1),
    positionIds: Int32Array.from({ length: ROWS * length }, (_, index) => index % length),
  };
}

/** Computes the logits of 4 × 32 fixed random tokens, flat, to compare a model before and after a merge. */
export function probeLogits(model: LanguageModel): Float32Array {
  return tidy(() => model.logits(probeTokens(model), 'all').dataSync<'float32'>().slice());
}

/** Returns the largest absolute difference between two lists of logits; Infinity if one is NaN. */
export function largestLogitDifference(one: Float32Array, other: Float32Array): number {
  let largest = 0;
  for (let index = 0; index < one.length; index++) {
    const difference = Math.abs((one[index] ?? NaN) - (other[index] ?? NaN));
    if (Number.isNaN(difference)) return Infinity;
    largest = Math.max(largest, difference);
  }
  return largest;
}

/** Returns a copy of a weight, rounded to `dtype`. */
function rounded(weight: Tensor, dtype: WeightDtype): Tensor {
  if (dtype === 'F32') return weight.clone();
  if (dtype === 'BF16') return storeBfloat16(weight);
  return tensor(widen(narrow(weight.dataSync<'float32'>(), 'F16'), 'F16'), weight.shape, 'float32');
}

/**
 * Replaces the weights of a model by those that a merge would write: the merged weights, all rounded to `dtype`. The
 * original weights are lost.
 */
export function applyMergedWeights(
  model: LanguageModel,
  weights: ReadonlyMap<string, Tensor>,
  dtype: WeightDtype,
): void {
  for (const [name, parameter] of model.parameters) {
    const merged = weights.get(name);
    if (merged === undefined && dtype === 'F32') continue;
    const value = rounded(merged ?? parameter, dtype);
    parameter.assign(value);
    value.dispose();
  }
  // An untied head has no parameter in the model.
  for (const [name, weight] of weights) {
    if (model.parameters.has(name)) continue;
    model.linearSites
      .get(name.replace(/\.weight$/, ''))
      ?.replaceWeight(() => (dtype === 'F32' ? weight : rounded(weight, dtype)) as Tensor2D);
  }
}
