import { add, keep, mul, scalar, sub, tidy, type Tensor } from '@tensorflow/tfjs-core';
import type { Optimizer } from '../contract/optimizer.js';
import { unusedDecay } from './decays.js';

export interface SgdOptions {
  readonly momentum: number;
  readonly weightDecay: number;
}

/** Creates stochastic gradient descent: b ← momentum · b + g; p ← p · (1 − rate · decay) − rate · b. */
export function createSgd({ momentum, weightDecay }: SgdOptions): Optimizer {
  const velocities = new Map<string, Tensor>();
  const replace = (name: string, velocity: Tensor): void => {
    velocities.get(name)?.dispose();
    velocities.set(name, keep(velocity));
  };
  const clear = (): void => {
    for (const velocity of velocities.values()) velocity.dispose();
    velocities.clear();
  };
  return {
    apply(parameters, gradients, step) {
      for (const [name, parameter] of parameters) {
        const gradient = gradients.get(name);
        if (gradient === undefined) continue;
        const rate = step.learningRate * step.learningRateScale(name);
        const decay = step.decays(name) ? 1 - rate * weightDecay : 1;
        const [value, velocity] = tidy(() => {
          const before = velocities.get(name);
          const direction =
            momentum === 0 || before === undefined ? gradient.clone() : add(mul(before, momentum), gradient);
          return [sub(mul(parameter, scalar(decay)), mul(direction, scalar(rate))), direction] as [Tensor, Tensor];
        });
        parameter.assign(value);
        value.dispose();
        if (momentum === 0) velocity.dispose();
        else replace(name, velocity);
      }
    },
    stateValues: (parameters) =>
      momentum === 0 ? 0 : Array.from(parameters.values(), ({ size }) => size).reduce((sum, size) => sum + size, 0),
    checkRun: (run) => [
      ...unusedDecay(weightDecay, run),
      ...(momentum > 0 && run.totalSteps === 1
        ? [{ path: 'momentum', reason: 'the run has a single step, without a previous direction' }]
        : []),
    ],
    saveState: () => ({ tensors: new Map(velocities), values: null }),
    loadState({ tensors }) {
      clear();
      for (const [name, velocity] of tensors) replace(name, velocity.clone());
    },
    dispose: clear,
  };
}
