import { add, clone, engine, mul, scalar, sub, sum, tidy, type Scalar, type Tensor } from '@tensorflow/tfjs-core';
import type { Attachment, Batch, LanguageModel } from '@whetstone/core/contract';
import { crossEntropy } from '@whetstone/core/ops';
import { supervisedOf } from './batches.js';

/** Gradients by parameter name; the caller owns them. */
export type NamedGradients = Map<string, Tensor>;

/** Summed cross-entropy of the batches' targets over their number, penalties included. */
export function lossOf(
  model: LanguageModel,
  attachments: readonly Attachment[],
  batches: readonly Batch[],
  step: number,
): Scalar {
  return tidy(() => {
    const supervised = batches.map(supervisedOf);
    const tokens = supervised.reduce((count, { targets }) => count + targets.length, 0);
    const parts = batches.map((batch, index) => {
      const { positions, targets } = supervised[index] ?? supervisedOf(batch);
      return mul<Scalar>(sum(crossEntropy(model.logits(batch, positions), targets)), 1 / tokens);
    });
    const penalties = attachments.flatMap((attachment) => attachment.penalty?.({ step, record: () => {} }) ?? []);
    return [...parts, ...penalties].reduce((one, other) => add<Scalar>(one, other), scalar(0));
  });
}

/** Gradients of the loss, microbatch by microbatch, added up. */
export function gradientsOf(
  model: LanguageModel,
  attachments: readonly Attachment[],
  batches: readonly Batch[],
  step: number,
): NamedGradients {
  const trainable = new Map(attachments.flatMap((attachment) => [...attachment.trainable]));
  const names = [...trainable.keys()];
  const tokens = batches.reduce((count, batch) => count + supervisedOf(batch).targets.length, 0);
  const total: NamedGradients = new Map();
  const take = (loss: () => Scalar): void => {
    const { value, grads } = engine().gradients(loss, [...trainable.values()], undefined, true);
    value.dispose();
    for (const [index, name] of names.entries()) {
      const gradient = grads[index] as Tensor | null | undefined;
      if (gradient === null || gradient === undefined) continue;
      const before = total.get(name);
      total.set(name, before === undefined ? clone(gradient) : add(before, gradient));
      before?.dispose();
      gradient.dispose();
    }
  };
  for (const batch of batches)
    take(() => mul(lossOf(model, [], [batch], step), supervisedOf(batch).targets.length / tokens));
  if (attachments.some(({ penalty }) => penalty !== undefined)) {
    take(() =>
      attachments
        .flatMap((attachment) => attachment.penalty?.({ step, record: () => {} }) ?? [])
        .reduce((one, other) => add<Scalar>(one, other)),
    );
  }
  return total;
}

/** One step of plain gradient descent, as a run does it: `beforeStep`, gradients, update. */
export function takeStep(
  model: LanguageModel,
  attachments: readonly Attachment[],
  batches: readonly Batch[],
  step: number,
  learningRate: number,
): void {
  model.training = true;
  for (const attachment of attachments) attachment.beforeStep?.({ step, record: () => {} });
  const gradients = gradientsOf(model, attachments, batches, step);
  model.training = false;
  for (const attachment of attachments) {
    for (const [name, variable] of attachment.masters ?? attachment.trainable) {
      const gradient = gradients.get(name);
      if (gradient === undefined) continue;
      const rate = learningRate * (attachment.learningRateScale?.(name) ?? 1);
      const next = tidy(() => sub(variable, mul(gradient, rate)));
      variable.assign(next as Tensor);
      next.dispose();
    }
    attachment.afterUpdate?.();
  }
  for (const gradient of gradients.values()) gradient.dispose();
}

/** The values of tensors by name, on the host. */
export function valuesOf(tensors: ReadonlyMap<string, Tensor>): Map<string, Float32Array> {
  return new Map([...tensors].map(([name, tensor]) => [name, Float32Array.from(tensor.dataSync())]));
}
