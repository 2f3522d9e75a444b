import { add, clone, dispose, div, mul, sqrt, square, sum, tensor, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import type { Attachment, Batch, LanguageModel } from '@whetstone/core/contract';
import { testRandom } from '@whetstone/core/util';
import { gradientsOf, lossOf, type NamedGradients } from './steps.js';

interface TrainedModel {
  readonly model: LanguageModel;
  readonly attachments: readonly Attachment[];
}

/** Directions are the same in every run, so that a suite that passes passes again. */
const DIRECTION_SEED = 23;
/** The step whose gradients are compared. */
const STEP = 2;
/** A difference of this share of the gradient's norm is a fault. Rounding and curvature stay below a third of it. */
const TOLERANCE = 0.005;

/**
 * Returns a direction of length 1 for the derivative of the loss: the parameter's gradient plus half of a random vector
 * of signs. Along the gradient, a wrong scale shows; along the signs, a gradient that is zero or lacks elements.
 */
function directionOf(gradient: Tensor, norm: number, random: () => number): Tensor {
  return tidy(() => {
    const signs = Float32Array.from({ length: gradient.size }, () => (random() < 0.5 ? -1 : 1));
    const scattered = mul(tensor(signs, gradient.shape), 1 / Math.sqrt(gradient.size));
    if (norm === 0) return scattered;
    const mixed = add(mul(gradient, 1 / norm), mul(scattered, 0.5));
    return div(mixed, sqrt(sum(square(mixed))));
  });
}

/** Computes the loss and its gradients in one of the modes of a model. */
interface Slopes {
  loss(): number;
  gradients(): NamedGradients;
}

const slopesOf = ({ model, attachments }: TrainedModel, batches: readonly Batch[]): Slopes => ({
  loss: () => tidy(() => lossOf(model, attachments, batches, STEP).dataSync()[0] ?? NaN),
  gradients: () => gradientsOf(model, attachments, batches, STEP),
});

/** As {@link slopesOf}, but as a step of training computes them: with dropout, for example. */
function trainingSlopesOf(work: TrainedModel, batches: readonly Batch[]): Slopes {
  const { loss, gradients } = slopesOf(work, batches);
  const training = <T>(compute: () => T): T => {
    work.model.training = true;
    try {
      for (const attachment of work.attachments) attachment.beforeStep?.({ step: STEP, record: () => {} });
      return compute();
    } finally {
      work.model.training = false;
    }
  };
  return { loss: () => training(loss), gradients: () => training(gradients) };
}

/**
 * Compares the gradients in training with the derivative of the loss in training, if they differ from those in
 * evaluation. A strategy whose loss in training differs from call to call is not compared.
 */
export function expectTrainingGradients(
  work: TrainedModel,
  batches: readonly Batch[],
  isExact: (name: string) => boolean,
): void {
  const training = trainingSlopesOf(work, batches);
  if (training.loss() !== training.loss()) return;
  const [own, evaluated] = [training.gradients(), slopesOf(work, batches).gradients()];
  const isSame = [...own].every(([name, gradient]) => {
    const other = evaluated.get(name)?.dataSync();
    return gradient.dataSync().every((value, index) => Math.fround(value) === other?.[index]);
  });
  dispose([...own.values(), ...evaluated.values()]);
  if (!isSame) expectGradients(work, batches, isExact, training);
}

/**
 * Compares each parameter's gradient g with the derivative of the loss in a direction d: (L(θ + h·d) − L(θ − h·d)) / 2h
 * must be g·d. Float32 rounding of the loss sets the absolute tolerance. Calls vitest's `expect`; the parameters end as
 * they were.
 *
 * @param isExact whether a parameter's gradient is that of the loss
 */
export function expectGradients(
  work: TrainedModel,
  batches: readonly Batch[],
  isExact: (name: string) => boolean,
  slopes: Slopes = slopesOf(work, batches),
): void {
  const { attachments } = work;
  const random = testRandom(DIRECTION_SEED);
  const gradients = slopes.gradients();
  const lossNow = slopes.loss;
  const rounding = 1e-6 * Math.max(1, lossNow());
  const trainable = new Map(attachments.flatMap((attachment) => [...attachment.trainable]));
  expect([...gradients.keys()].sort(), 'parameters that have a gradient').toEqual([...trainable.keys()].sort());
  const exact = [...gradients].filter(([name]) => isExact(name));
  expect(exact.length, 'number of gradients to compare with the loss').toBeGreaterThan(0);
  for (const [name, gradient] of exact) {
    const variable = trainable.get(name) ?? expect.fail(`no parameter ${name}`);
    const norm = Math.sqrt(tidy(() => sum(square(gradient)).dataSync()[0] ?? NaN));
    expect(norm, `gradient norm of ${name}`).toSatisfy(Number.isFinite, 'is finite');
    const original = clone(variable);
    const direction = directionOf(gradient, norm, random);
    const expected = tidy(() => sum(mul(gradient, direction)).dataSync()[0] ?? NaN);
    // A step that changes the loss by about 0.003, but the parameter by no more than 0.2.
    const distance = Math.min(0.2, 0.003 / Math.max(norm, 1e-6));
    const at = (reach: number): number => {
      const moved = tidy(() => add(original, mul(direction, reach * distance)));
      variable.assign(moved as Tensor);
      moved.dispose();
      return lossNow();
    };
    const slopeOver = (reach: number): number => (at(reach) - at(-reach)) / (2 * distance * reach);
    // Richardson's extrapolation takes the cubic term out.
    const slope = (4 * slopeOver(0.5) - slopeOver(1)) / 3;
    variable.assign(original as Tensor);
    dispose([original, direction]);
    expect(
      Math.abs(slope - expected),
      `${name}: slope ${slope} in a random direction, by its gradient ${expected}`,
    ).toBeLessThanOrEqual(TOLERANCE * norm + rounding / distance);
  }
  dispose([...gradients.values()]);
}
