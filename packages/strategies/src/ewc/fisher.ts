import { add, keep, mul, square, tidy, zerosLike, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { WhetstoneError, type Batch, type LanguageModel } from '@whetstone/core/contract';
import { meanLossGradients, targetsOf } from '../support/batch-loss.js';

export interface FisherProgress {
  readonly samples: number;
  /** Mean loss of the latest batch, in nats. */
  readonly loss: number;
}

/**
 * Computes the diagonal of the empirical Fisher information by parameter name: F = (1/N) Σ gᵢ². Here gᵢ is the gradient
 * of the mean token loss of sample i with the labels of the data. With batches of one sample it is exact. With batches
 * of n samples it is estimated as n·ḡ², where ḡ is the gradient of the mean loss of the batch. The estimate is unbiased
 * if the gradients of samples are independent and have mean 0.
 *
 * The model must be in evaluation mode. The caller owns the tensors.
 *
 * @throws `DATA_NOTHING_TO_LEARN` if no batch has target tokens
 */
export async function diagonalFisher(
  model: LanguageModel,
  parameters: ReadonlyMap<string, Variable>,
  batches: Iterable<Batch> | AsyncIterable<Batch>,
  options: { readonly samples?: number; readonly onProgress?: (progress: FisherProgress) => void } = {},
): Promise<Map<string, Tensor>> {
  const { samples: maxSamples = Infinity, onProgress } = options;
  const total = new Map<string, Tensor>(
    [...parameters].map(([name, parameter]) => [name, keep(tidy(() => zerosLike(parameter)))]),
  );
  let samples = 0;
  for await (const batch of batches) {
    if (samples >= maxSamples) break;
    const supervised = targetsOf(batch);
    if (supervised.targets.length === 0) continue;
    const { loss, gradients } = meanLossGradients(model, parameters, batch, supervised);
    for (const [name, gradient] of gradients) {
      const before = total.get(name);
      if (before === undefined) continue;
      // A batch of n samples contributes n times the estimate n·ḡ².
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
      'The data of the old task contains no target tokens to estimate the Fisher information from.',
    );
  }
  for (const [name, sum] of total) {
    total.set(name, keep(tidy(() => mul(sum, 1 / samples))));
    sum.dispose();
  }
  return total;
}
