import { add, keep, mul, square, tidy, zerosLike, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { WhetstoneError, type Batch, type LanguageModel } from '@whetstone/core/contract';
import { meanLossGradients, targetsOf } from '../support/batch-loss.js';

export interface FisherProgress {
  readonly samples: number;
  /** Mean loss of the batch just done, in nats. */
  readonly loss: number;
}

/**
 * The diagonal of the empirical Fisher information, by parameter name: F = (1/N) Σ gᵢ², gᵢ the gradient of sample i's
 * mean token loss with the data's own labels. From batches of one sample it is exact. From batches of n it is estimated
 * as n·ḡ², ḡ the gradient of the batch's mean: right in expectation where the gradients of samples are independent and
 * their mean is small.
 *
 * The model must be in evaluation. The caller owns the tensors.
 *
 * @throws DATA_NOTHING_TO_LEARN where no batch has a target.
 */
export async function diagonalFisher(
  model: LanguageModel,
  parameters: ReadonlyMap<string, Variable>,
  batches: Iterable<Batch> | AsyncIterable<Batch>,
  options: { readonly samples?: number; readonly onProgress?: (progress: FisherProgress) => void } = {},
): Promise<Map<string, Tensor>> {
  const { samples: wanted = Infinity, onProgress } = options;
  const total = new Map<string, Tensor>(
    [...parameters].map(([name, parameter]) => [name, keep(tidy(() => zerosLike(parameter)))]),
  );
  let samples = 0;
  for await (const batch of batches) {
    if (samples >= wanted) break;
    const supervised = targetsOf(batch);
    if (supervised.targets.length === 0) continue;
    const { loss, gradients } = meanLossGradients(model, parameters, batch, supervised);
    for (const [name, gradient] of gradients) {
      const before = total.get(name);
      if (before === undefined) continue;
      // n samples in a batch count n times, and their mean gradient n times smaller in square: n · n·ḡ² in all.
      const weight = batch.samples === 1 ? null : batch.samples ** 2;
      total.set(
        name,
        keep(tidy(() => add(before, weight === null ? square(gradient) : mul(square(gradient), weight)))),
      );
      before.dispose();
      gradient.dispose();
    }
    samples += batch.samples;
    onProgress?.({ samples, loss: (await loss.data())[0] ?? NaN });
    loss.dispose();
  }
  if (samples === 0) {
    for (const tensor of total.values()) tensor.dispose();
    throw new WhetstoneError(
      'DATA_NOTHING_TO_LEARN',
      'The data of the old task holds nothing to estimate the Fisher information from.',
    );
  }
  for (const [name, sum] of total) {
    total.set(name, keep(tidy(() => mul(sum, 1 / samples))));
    sum.dispose();
  }
  return total;
}
