import { clone, dispose, mul, sub, sum, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import type { Attachment, Batch, LanguageModel } from '@whetstone/core/contract';
import { gradientsOf, lossOf } from './steps.js';

interface TrainedModel {
  readonly model: LanguageModel;
  readonly attachments: readonly Attachment[];
}

/**
 * The loss along each parameter's own gradient: (L(θ + h·g/‖g‖) − L(θ − h·g/‖g‖)) / 2h must be ‖g‖. Float32 rounding of
 * the loss sets the tolerance. Calls vitest's `expect`; the parameters end as they were.
 *
 * @param isExact whether a parameter's gradient is that of the loss
 */
export function expectGradients(
  { model, attachments }: TrainedModel,
  batches: readonly Batch[],
  isExact: (name: string) => boolean,
): void {
  const gradients = gradientsOf(model, attachments, batches, 2);
  const lossNow = (): number => tidy(() => lossOf(model, attachments, batches, 2).dataSync()[0] ?? NaN);
  const trainable = new Map(attachments.flatMap((attachment) => [...attachment.trainable]));
  expect([...gradients.keys()].sort(), 'parameters that have a gradient').toEqual([...trainable.keys()].sort());
  const exact = [...gradients].filter(([name]) => isExact(name));
  expect(exact.length, 'number of gradients to compare with the loss').toBeGreaterThan(0);
  for (const [name, gradient] of exact) {
    const variable = trainable.get(name) ?? expect.fail(`no parameter ${name}`);
    const norm = Math.sqrt(tidy(() => sum(mul(gradient, gradient)).dataSync()[0] ?? NaN));
    expect(norm, `gradient norm of ${name}`).toSatisfy(Number.isFinite, 'is finite');
    const original = clone(variable);
    // A step that changes the loss by about 0.01, but no parameter by more than 0.05.
    const distance = Math.min(0.05, 0.01 / Math.max(norm, 1e-6));
    const at = (reach: number): number => {
      const moved = tidy(() => sub(original, mul(gradient, (-reach * distance) / Math.max(norm, 1e-12))));
      variable.assign(moved as Tensor);
      moved.dispose();
      return lossNow();
    };
    const slopeOver = (reach: number): number => (at(reach) - at(-reach)) / (2 * distance * reach);
    // Richardson's extrapolation takes the cubic term out.
    const slope = (4 * slopeOver(0.5) - slopeOver(1)) / 3;
    variable.assign(original as Tensor);
    original.dispose();
    expect(Math.abs(slope - norm), `${name}: slope ${slope}, gradient norm ${norm}`).toBeLessThanOrEqual(
      0.02 * norm + 2e-6 / distance,
    );
  }
  dispose([...gradients.values()]);
}
