import { engine, mul, sum, type Scalar, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { IGNORED_LABEL, type Batch, type LanguageModel, type SupervisedPositions } from '@whetstone/core/contract';
import { crossEntropy } from '@whetstone/core/ops';

/** Returns the target tokens of a batch, each with the position of the previous token of its segment. */
export function targetsOf({ length, labels, segmentIds }: Batch): SupervisedPositions {
  const positions: number[] = [];
  const targets: number[] = [];
  for (const [index, label] of labels.entries()) {
    if (
      label === IGNORED_LABEL ||
      index % length === 0 ||
      segmentIds[index] === 0 ||
      segmentIds[index - 1] !== segmentIds[index]
    )
      continue;
    positions.push(index - 1);
    targets.push(label);
  }
  return { positions: Int32Array.from(positions), targets: Int32Array.from(targets) };
}

/** Computes the mean cross-entropy of the target tokens of a batch, in nats. Call inside `tf.tidy`. */
export function meanLoss(model: LanguageModel, batch: Batch, { positions, targets }: SupervisedPositions): Scalar {
  return mul(sum(crossEntropy(model.logits(batch, positions), targets)), 1 / targets.length);
}

/**
 * Computes the mean loss of a batch and its gradients by parameter name. Parameters on which the loss does not depend
 * are absent. The caller owns the tensors.
 */
export function meanLossGradients(
  model: LanguageModel,
  parameters: ReadonlyMap<string, Variable>,
  batch: Batch,
  supervised: SupervisedPositions,
): { readonly loss: Scalar; readonly gradients: ReadonlyMap<string, Tensor> } {
  const { value, grads } = engine().gradients(
    () => meanLoss(model, batch, supervised),
    [...parameters.values()],
    undefined,
    true,
  );
  const found = [...parameters.keys()].flatMap((name, index) => {
    const gradient = grads[index] as Tensor | null | undefined;
    return gradient === null || gradient === undefined ? [] : [[name, gradient] as const];
  });
  return { loss: value as Scalar, gradients: new Map(found) };
}
