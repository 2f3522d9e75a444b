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
import { WhetstoneError, type Attachment, type LinearSite, type StrategyPlan } from '@whetstone/core/contract';
import { customGradient, savedAt } from '@whetstone/core/ops';

/**
 * What the penalty holds near its old values: the trained parameters, or what they come to in the base's own weights.
 */
export type HeldKind = 'parameters' | 'effective-weights';

/** Weights by name, as they are now and as variables whose gradients tell how much each matters. */
export interface HeldWeights {
  /** Those that are trained now. Differentiable with respect to what is trained; call inside `tf.tidy`. */
  values(): ReadonlyMap<string, Tensor>;
  /** Those that are trained at some step. Call inside `tf.tidy`. */
  all(): ReadonlyMap<string, Tensor>;
  shapes(): ReadonlyMap<string, readonly number[]>;
  /**
   * Calls `work` with variables whose gradients are those of the weights. For an effective weight that is a zero beside
   * the layer: the gradient of the loss with respect to it is the same, and the weight itself need not exist.
   */
  withProbes<T>(work: (probes: ReadonlyMap<string, Variable>) => Promise<T>): Promise<T>;
}

const nothingEffective = (): WhetstoneError =>
  new WhetstoneError(
    'CONFIG_CONFLICT',
    "ewc cannot hold effective weights beside this strategy: what it trains lies outside of the base's weights.",
    {
      place: { path: 'companions' },
      hint: 'Leave `on` out, so that ewc holds the trained parameters themselves.',
    },
  );

/** Shapes of what would be held, from the owner's plan. @throws CONFIG_CONFLICT */
export function plannedShapes(kind: HeldKind, plan: StrategyPlan): ReadonlyMap<string, readonly number[]> {
  if (kind === 'parameters') return plan.trainable;
  if (plan.effectiveWeights === undefined) throw nothingEffective();
  return plan.effectiveWeights;
}

/** @throws CONFIG_CONFLICT where the owner knows no effective weights. */
export function heldWeightsOf(kind: HeldKind, owner: Attachment): HeldWeights {
  if (kind === 'parameters') {
    // What is frozen still will be held from the start: the anchor is where training began.
    const presentAgain = owner.trainAll?.();
    const all: ReadonlyMap<string, Variable> = new Map(owner.trainable);
    presentAgain?.();
    return {
      values: () => owner.trainable,
      all: () => all,
      shapes: () => new Map([...all].map(([name, { shape }]) => [name, shape])),
      withProbes: async (work) => {
        const freezeAgain = owner.trainAll?.();
        try {
          return await work(all);
        } finally {
          freezeAgain?.();
        }
      },
    };
  }
  const weights = owner.effectiveWeights?.();
  if (weights === undefined) throw nothingEffective();
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
 * `output` as it is; the probe's gradient is that of the layer's weight: gradientᵀ · input, in the layout of the
 * weight.
 */
function probed(output: Tensor2D, input: Tensor2D, probe: Tensor2D, { fanInFanOut }: LinearSite): Tensor2D {
  return customGradient<Tensor2D>(
    [output, probe],
    () => ({ value: clone(output), saved: [input] }),
    (gradient, saved) => {
      const seen = savedAt<Tensor2D>(saved, 0);
      return [gradient, fanInFanOut ? matMul(seen, gradient, true) : matMul(gradient, seen, true)];
    },
  );
}

/** Copies of weights as they are now. The caller owns them. */
export function valuesNow(held: HeldWeights): Map<string, Tensor> {
  const names: string[] = [];
  const tensors = tidy(() =>
    [...held.all()].map(([name, value]) => {
      names.push(name);
      return clone(value);
    }),
  );
  return new Map(names.map((name, index) => [name, keep(tensors[index] as Tensor)]));
}
