import {
  clone,
  keep,
  matMul,
  tidy,
  variable,
  zerosLike,
  type Tensor,
  type Tensor2D,
  type Variable,
} from '@tensorflow/tfjs-core';
import {
  WhetstoneError,
  type Attachment,
  type LinearSite,
  type StrategyPlan,
  type FromSchema,
} from '@whetstone/core/contract';
import type { configSchema } from './options.js';
import { customGradient, savedAt } from '@whetstone/core/ops';

/** The weights to which the penalty applies: the trained parameters, or the base's weights including the adapter. */
export type AnchoredKind = FromSchema<typeof configSchema>['on'];

/** The weights to which the penalty applies, by name. */
export interface AnchoredWeights {
  /**
   * Returns the weights that are trained at present, differentiable with respect to the trained parameters. Call inside
   * `tf.tidy`.
   */
  values(): ReadonlyMap<string, Tensor>;
  /** Returns the weights that are trained at any step of the run. Call inside `tf.tidy`. */
  all(): ReadonlyMap<string, Tensor>;
  /** Returns the shapes of `all`. */
  shapes(): ReadonlyMap<string, readonly number[]>;
  /**
   * Calls `work` with variables that have the gradients of the weights. For an effective weight, the variable is a zero
   * matrix that is added to the layer's weight: it has the same gradient, and the effective weight is not computed.
   */
  withProbes<T>(work: (probes: ReadonlyMap<string, Variable>) => Promise<T>): Promise<T>;
}

const noEffectiveWeights = (): WhetstoneError =>
  new WhetstoneError(
    'CONFIG_CONFLICT',
    'ewc does not support effective weights with this strategy, because it does not change the weights of the base.',
    {
      place: { path: 'companions' },
      hint: 'Remove the option `on`, so that ewc applies to the trained parameters.',
    },
  );

/**
 * Returns the shapes of the anchored weights from the owner's plan.
 *
 * @throws `CONFIG_CONFLICT` if it has no effective weights
 */
export function plannedShapes(kind: AnchoredKind, plan: StrategyPlan): ReadonlyMap<string, readonly number[]> {
  if (kind === 'parameters') return plan.trainable;
  if (plan.effectiveWeights === undefined) throw noEffectiveWeights();
  return plan.effectiveWeights;
}

/** Returns the anchored weights of an owner. @throws `CONFIG_CONFLICT` if it has no effective weights */
export function anchoredWeightsOf(kind: AnchoredKind, owner: Attachment): AnchoredWeights {
  if (kind === 'parameters') {
    // Gradual unfreezing: layers that are still frozen are anchored, too, at their values at the start of the run.
    const restoreFrozen = owner.trainAll?.();
    const all: ReadonlyMap<string, Variable> = new Map(owner.trainable);
    restoreFrozen?.();
    return {
      values: () => owner.trainable,
      all: () => all,
      shapes: () => new Map([...all].map(([name, { shape }]) => [name, shape])),
      withProbes: async (work) => {
        const refreeze = owner.trainAll?.();
        try {
          return await work(all);
        } finally {
          refreeze?.();
        }
      },
    };
  }
  const weights = owner.effectiveWeights?.();
  if (weights === undefined) throw noEffectiveWeights();
  const values = (): Map<string, Tensor> => new Map([...weights].map(([name, { weight }]) => [name, weight()]));
  return {
    values,
    all: values,
    shapes: () =>
      new Map([...weights].map(([name, { site, weight }]) => [name, site?.weight.shape ?? tidy(() => weight().shape)])),
    withProbes: async (work) => {
      const probes = new Map<string, Variable>();
      const undo: (() => void)[] = [];
      try {
        for (const [name, { site, weight }] of weights) {
          if (site === null) {
            probes.set(name, weight() as Variable);
            continue;
          }
          const zero = tidy(() => zerosLike(site.weight));
          const probe = variable(zero, true);
          zero.dispose();
          probes.set(name, probe);
          undo.push(
            site.wrap((base) => (input) => probed(base(input), input, probe as Tensor as Tensor2D, site)),
            () => probe.dispose(),
          );
        }
        return await work(probes);
      } finally {
        for (const step of undo) step();
      }
    },
  };
}

/**
 * Returns `output` unchanged, with a gradient for the probe: that of the layer's weight, gradientᵀ · input, in the
 * layout of the weight.
 */
function probed(output: Tensor2D, input: Tensor2D, probe: Tensor2D, { fanInFanOut }: LinearSite): Tensor2D {
  return customGradient<Tensor2D>(
    [output, probe],
    () => ({ value: clone(output), saved: [input] }),
    (gradient, saved) => {
      const layerInput = savedAt<Tensor2D>(saved, 0);
      return [gradient, fanInFanOut ? matMul(layerInput, gradient, true) : matMul(gradient, layerInput, true)];
    },
  );
}

/** Returns copies of the current values of all weights. The caller owns them. */
export function copyValues(weights: AnchoredWeights): Map<string, Tensor> {
  const names: string[] = [];
  const tensors = tidy(() =>
    [...weights.all()].map(([name, value]) => {
      names.push(name);
      return clone(value);
    }),
  );
  return new Map(names.map((name, index) => [name, keep(tensors[index] as Tensor)]));
}
