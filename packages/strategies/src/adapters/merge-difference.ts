import { tensor, tidy, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import type { ForwardInput, LanguageModel } from '@whetstone/core/contract';
import { storeBfloat16 } from '@whetstone/core/ops';
import { createRandom } from '@whetstone/core/random';
import { narrow, widen, type WeightDtype } from '@whetstone/core/safetensors';

const ROWS = 4;
const LENGTH = 32;

/** Rows of random tokens, the same for every model of a vocabulary. */
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

/** Logits of 4 × 32 fixed random tokens, flat: what a model is before and after a merge. */
export function probeLogits(model: LanguageModel): Float32Array {
  return tidy(() => model.logits(probeTokens(model), 'all').dataSync<'float32'>().slice());
}

/** The largest difference of two lists of logits; infinite where one is no number. */
export function largestLogitDifference(one: Float32Array, other: Float32Array): number {
  let largest = 0;
  for (let index = 0; index < one.length; index += 1) {
    const difference = Math.abs((one[index] ?? NaN) - (other[index] ?? NaN));
    if (Number.isNaN(difference)) return Infinity;
    largest = Math.max(largest, difference);
  }
  return largest;
}

function rounded(weight: Tensor, dtype: WeightDtype): Tensor {
  if (dtype === 'F32') return weight.clone();
  if (dtype === 'BF16') return storeBfloat16(weight);
  return tensor(widen(narrow(weight.dataSync<'float32'>(), 'F16'), 'F16'), weight.shape, 'float32');
}

/**
 * Makes a model compute with what a merge would write: the merged weights in the place of its own, and with a shorter
 * `dtype` all weights rounded to it. For good: the model's own weights are gone.
 */
export function becomeMerged(model: LanguageModel, weights: ReadonlyMap<string, Tensor>, dtype: WeightDtype): void {
  for (const [name, parameter] of model.parameters) {
    const merged = weights.get(name);
    if (merged === undefined && dtype === 'F32') continue;
    const value = rounded(merged ?? parameter, dtype);
    parameter.assign(value);
    value.dispose();
  }
  // A tied head that got a weight of its own has no parameter.
  for (const [name, weight] of weights) {
    if (model.parameters.has(name)) continue;
    model.linearSites
      .get(name.replace(/\.weight$/, ''))
      ?.replaceWeight(() => (dtype === 'F32' ? weight : rounded(weight, dtype)) as Tensor2D);
  }
}
