import { keep, tidy, zeros, zerosLike, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { WhetstoneError } from '../contract/errors.js';
import type { Optimizer, OptimizerStep } from '../contract/optimizer.js';
import type { RunOutline, UnusedOption } from '../contract/run-outline.js';
import type { SavedState } from '../contract/strategy.js';
import { adamwUpdate, type AdamWConstants } from '../ops/optimizer.js';
import { createScalars, type Scalars } from '../ops/recording.js';
import { unusedDecay } from './decays.js';

export interface AdamWOptions {
  readonly weightDecay: number;
  readonly adamBeta1: number;
  readonly adamBeta2: number;
  readonly adamEpsilon: number;
}

interface Moments {
  readonly first: Tensor;
  readonly second: Tensor;
  /** The number of updates of this parameter, for bias correction. Smaller for parameters that were added later. */
  readonly updates: number;
}

/**
 * Creates Adam with decoupled weight decay (Loshchilov & Hutter, 2019). The state is keyed by parameter name and
 * created at the first update of a parameter.
 */
export function createAdamW(options: AdamWOptions): Optimizer {
  return new AdamW(options);
}

class AdamW implements Optimizer {
  private readonly moments = new Map<string, Moments>();
  private readonly constants: AdamWConstants;
  private readonly weightDecay: number;

  constructor({ adamBeta1: beta1, adamBeta2: beta2, adamEpsilon: epsilon, weightDecay }: AdamWOptions) {
    this.constants = { beta1, beta2, epsilon };
    this.weightDecay = weightDecay;
  }

  prepare(parameters: ReadonlyMap<string, Variable>): boolean {
    const before = this.moments.size;
    for (const [name, parameter] of parameters) this.momentsOf(name, parameter);
    return this.moments.size > before;
  }

  apply(parameters: ReadonlyMap<string, Variable>, gradients: ReadonlyMap<string, Tensor>, step: OptimizerStep): void {
    const scalars = createScalars();
    for (const [name, parameter] of parameters) {
      const gradient = gradients.get(name);
      if (gradient !== undefined) this.update(name, parameter, gradient, scalars, step);
    }
    scalars.dispose();
  }

  checkRun(run: RunOutline): readonly UnusedOption[] {
    return unusedDecay(this.weightDecay, run);
  }

  saveState(): SavedState {
    const tensors = new Map<string, Tensor>();
    const updates: Record<string, number> = {};
    for (const [name, moment] of this.moments) {
      if (moment.updates === 0) continue;
      tensors.set(`${name}.firstMoment`, moment.first);
      tensors.set(`${name}.secondMoment`, moment.second);
      updates[name] = moment.updates;
    }
    return { tensors, values: { updates } };
  }

  /** @throws `CHECKPOINT_INVALID` if the state is not complete, or another optimizer wrote it */
  loadState({ tensors, values }: SavedState): void {
    this.dispose();
    for (const [name, updates] of Object.entries(updatesOf(values))) {
      const first = tensors.get(`${name}.firstMoment`);
      const second = tensors.get(`${name}.secondMoment`);
      if (first === undefined || second === undefined) {
        throw new WhetstoneError('CHECKPOINT_INVALID', 'The state of the optimizer lacks the moments of a parameter.', {
          place: { tensor: name },
        });
      }
      this.replace(name, { first: first.clone(), second: second.clone(), updates });
    }
  }

  dispose(): void {
    for (const { first, second } of this.moments.values()) {
      first.dispose();
      second.dispose();
    }
    this.moments.clear();
  }

  private update(name: string, parameter: Variable, gradient: Tensor, scalars: Scalars, step: OptimizerStep): void {
    const before = this.momentsOf(name, parameter);
    const updates = before.updates + 1;
    const rate = step.learningRate * step.learningRateScale(name);
    const { beta1, beta2 } = this.constants;
    const [value, first, second] = tidy(() =>
      adamwUpdate(
        { parameter, gradient, firstMoment: before.first, secondMoment: before.second },
        {
          stepSize: scalars(rate / (1 - beta1 ** updates)),
          decay: scalars(step.decays(name) ? 1 - rate * this.weightDecay : 1),
          correction: scalars(1 / Math.sqrt(1 - beta2 ** updates)),
        },
        this.constants,
        scalars,
      ),
    );
    parameter.assign(value);
    value.dispose();
    this.replace(name, { first, second, updates });
  }

  /** Returns the moments of a parameter. They are created if they do not exist. */
  private momentsOf(name: string, parameter: Tensor): Moments {
    return (
      this.moments.get(name) ??
      this.replace(name, { first: initialMoment(parameter), second: initialMoment(parameter), updates: 0 })
    );
  }

  /** Stores the moments of a parameter and disposes the previous ones. */
  private replace(name: string, next: Moments): Moments {
    const before = this.moments.get(name);
    before?.first.dispose();
    before?.second.dispose();
    const kept = { ...next, first: keep(next.first), second: keep(next.second) };
    this.moments.set(name, kept);
    return kept;
  }
}

/**
 * The moments of parameters up to this size start as zeros in host memory. They need no operation, and are copied to
 * the device with the first update. Those of larger parameters are created on the device, next to the weights.
 */
const MAX_HOST_MOMENT_SIZE = 2 ** 16;

/** Returns the initial value of a parameter's moments. */
const initialMoment = (parameter: Tensor): Tensor =>
  parameter.size > MAX_HOST_MOMENT_SIZE ? zerosLike(parameter) : zeros(parameter.shape);

function updatesOf(values: unknown): Record<string, number> {
  const updates = typeof values === 'object' && values !== null && 'updates' in values ? values.updates : undefined;
  if (typeof updates !== 'object' || updates === null) {
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The state of the optimizer was not written by adamw.');
  }
  return updates as Record<string, number>;
}
