import {
  abs,
  add,
  cast,
  clipByValue,
  div,
  greater,
  keep,
  max,
  maximum,
  minimum,
  mul,
  scalar,
  sqrt,
  square,
  sum,
  tensor1d,
  tidy,
  type Scalar,
  type Tensor,
  type Tensor1D,
} from '@tensorflow/tfjs-core';
import {
  defaultsOf,
  WhetstoneError,
  type Callback,
  type Control,
  type Gradients,
  type Json,
  type UnusedOption,
} from '@whetstone/core/contract';
import { clipByGlobalNorm, globalNorm } from '@whetstone/core/ops';
import { NORM_EPSILON } from '@whetstone/core/ops/internal';
import { configSchema, type GradientClippingOptions } from './options.js';

/** Minimum weight norm of AGC, so that units whose weights are zero can change (Brock et al. 2021). */
const weightNormFloor = 1e-3;

interface Clipped {
  readonly gradients: Gradients;
  /** 1 if any gradient was clipped, otherwise 0. */
  readonly clipped: Scalar;
}

const mapGradients = (gradients: Gradients, change: (gradient: Tensor, name: string) => Tensor): Gradients =>
  new Map([...gradients].map(([name, gradient]) => [name, change(gradient, name)]));

/** Returns 1 if any of the norms is above its limit, otherwise 0. */
const anyAbove = (pairs: readonly (readonly [Tensor, Tensor])[]): Scalar =>
  pairs
    .map(([norm, bound]) => max(cast(greater(norm, bound), 'float32')))
    .reduce((one, other) => maximum(one, other)) as Scalar;

/** Returns the norm of each unit: over all axes except the first, or over all elements of a vector. */
const unitNorms = (tensor: Tensor): Tensor => {
  if (tensor.rank < 2) return sqrt(sum(square(tensor)));
  return sqrt(
    sum(
      square(tensor),
      Array.from({ length: tensor.rank - 1 }, (_, axis) => axis + 1),
      true,
    ),
  );
};

/** The constants of the rules, on the device. */
interface Bounds {
  readonly limit: Scalar;
  readonly epsilon: Scalar;
  readonly one: Scalar;
  readonly floor: Scalar;
}

const createBounds = (limit: number): Bounds => ({
  limit: keep(scalar(limit)),
  epsilon: keep(scalar(NORM_EPSILON)),
  one: keep(scalar(1)),
  floor: keep(scalar(weightNormFloor)),
});

/** Returns min(1, limit / (norm + ε)). */
const factor = (norm: Tensor, limit: Tensor, { one, epsilon }: Bounds): Tensor =>
  minimum(one, div(limit, add(norm, epsilon)));

function clip(
  mode: Exclude<GradientClippingOptions['mode'], 'norm'>,
  gradients: Gradients,
  parameters: Gradients,
  norm: Scalar,
  limitValue: number,
  bounds: Bounds,
): Clipped {
  const { limit } = bounds;
  switch (mode) {
    case 'parameter-norm': {
      const norms = new Map([...gradients].map(([name, gradient]) => [name, sqrt(sum(square(gradient)))] as const));
      const normOf = (name: string): Tensor => norms.get(name) ?? norm;
      return {
        gradients: mapGradients(gradients, (gradient, name) => mul(gradient, factor(normOf(name), limit, bounds))),
        clipped: anyAbove([...norms.values()].map((each) => [each, limit] as const)),
      };
    }
    case 'value':
      return {
        gradients: mapGradients(gradients, (gradient) => clipByValue(gradient, -limitValue, limitValue)),
        clipped: anyAbove([...gradients.values()].map((gradient) => [max(abs(gradient)), limit] as const)),
      };
    case 'adaptive': {
      const pairs = new Map(
        [...gradients].map(([name, gradient]) => {
          const weight = parameters.get(name);
          if (weight === undefined) throw new Error(`The gradient ${name} does not belong to a parameter.`);
          return [name, [unitNorms(gradient), mul(limit, maximum(unitNorms(weight), bounds.floor))] as const] as const;
        }),
      );
      return {
        gradients: mapGradients(gradients, (gradient, name) => {
          const [unitNorm, bound] = pairs.get(name) ?? [norm, limit];
          return mul(gradient, factor(unitNorm, bound, bounds));
        }),
        clipped: anyAbove([...pairs.values()]),
      };
    }
  }
}

/** The norm of all gradients, with the gradients clipped to it in the mode `norm`. */
interface Measured {
  readonly norm: Scalar;
  /** In the order of the gradients; null in other modes. */
  readonly clipped: readonly Tensor[] | null;
}

/** Measures the gradients. In the mode `norm`, one operation measures and clips. */
const measure = (mode: GradientClippingOptions['mode'], gradients: Gradients, { limit }: Bounds): Measured =>
  mode === 'norm'
    ? clipByGlobalNorm([...gradients.values()], limit)
    : { norm: globalNorm(gradients.values()), clipped: null };

/** Returns the gradients that {@link measure} clipped. */
const clippedByNorm = (gradients: Gradients, { norm, clipped }: Measured, { limit }: Bounds): Clipped => ({
  gradients: new Map([...gradients.keys()].map((name, index) => [name, clipped?.[index] as Tensor])),
  clipped: anyAbove([[norm, limit]]),
});

/**
 * Asks for the step to be skipped if the norm is not finite. Returns whether it did. Reads the norm from the device.
 *
 * @throws `NON_FINITE` if `action` is `stop`
 */
function refuseNonFinite(norm: Scalar, action: 'stop' | 'skip', step: number, control: Control): boolean {
  const [value = Number.NaN] = norm.dataSync();
  if (Number.isFinite(value)) return false;
  const reason = `the gradient norm of step ${step + 1} is ${value}`;
  if (action === 'stop')
    throw new WhetstoneError('NON_FINITE', `${reason[0]?.toUpperCase()}${reason.slice(1)}.`, {
      hint: 'Lower the learning rate, or set nonFinite to "skip".',
    });
  control.skipUpdate(reason);
  return true;
}

/** Counts the steps in which a gradient was clipped, on the device. */
class ClippedSteps {
  private steps = 0;
  /** The count of the checkpoint from which the run resumed. */
  private before = 0;
  /** One number. A scalar would first be stored on the host, and the graph of the first step would differ. */
  private count: Tensor1D | null = null;

  /** Counts a step. `clipped` is 1 if a gradient was clipped, otherwise 0. */
  add(clipped: Scalar): void {
    this.steps++;
    const previous = this.count;
    this.count = keep(tidy(() => add<Tensor1D>(previous ?? tensor1d([this.before], 'float32'), clipped)));
    previous?.dispose();
  }

  /** Counts a step in which nothing was clipped. */
  addSkipped(): void {
    this.steps++;
  }

  /** Returns the share of steps so far in which a gradient was clipped. */
  share(): Scalar {
    const { count, before, steps } = this;
    return tidy(() => div<Scalar>(count === null ? scalar(before) : sum(count), scalar(steps)));
  }

  saveState(): Json {
    return { steps: this.steps, clippedSteps: this.count === null ? this.before : (this.count.dataSync()[0] ?? 0) };
  }

  loadState(state: Json): void {
    const saved = state as { readonly steps: number; readonly clippedSteps: number };
    this.steps = saved.steps;
    this.before = saved.clippedSteps;
    this.dispose();
  }

  dispose(): void {
    this.count?.dispose();
    this.count = null;
  }
}

/** The limit of each mode. */
const limits = {
  norm: 'maxNorm',
  'parameter-norm': 'maxNorm',
  value: 'maxValue',
  adaptive: 'adaptiveFactor',
} as const satisfies Record<GradientClippingOptions['mode'], keyof GradientClippingOptions>;

/** Returns the limits that clip nothing: those of other modes, and a limit that no gradient exceeds. */
function unusedLimits(options: GradientClippingOptions): UnusedOption[] {
  const own = limits[options.mode];
  const ofOtherModes = [...new Set(Object.values(limits))].filter(
    (limit) => limit !== own && options[limit] !== configSchema.properties[limit].default,
  );
  return [
    ...ofOtherModes.map((path) => ({ path, reason: `the mode is "${options.mode}", whose limit is ${own}` })),
    ...(Number.isFinite(Math.fround(options[own]))
      ? []
      : [{ path: own, reason: `no gradient exceeds ${options[own]}, so the norms are only reported` }]),
  ];
}

/**
 * Creates a callback that clips the gradients before the update. It reports `gradNorm` (before), `gradNormClipped`
 * (after) and `clippedShare`, the share of steps so far in which a gradient was clipped. All values are computed on the
 * device. They are not read during the step, except with `nonFinite`.
 */
export function createGradientClipping(options: Partial<GradientClippingOptions> = {}): Callback {
  const resolved: GradientClippingOptions = { ...defaultsOf(configSchema), ...options };
  const { mode, maxNorm, maxValue, adaptiveFactor, nonFinite } = resolved;
  const limitValue = mode === 'value' ? maxValue : mode === 'adaptive' ? adaptiveFactor : maxNorm;
  const clippedSteps = new ClippedSteps();
  let bounds: Bounds | null = null;
  return {
    requests: ['skipUpdate'],
    checkRun: () => unusedLimits(resolved),
    transformGradients: {
      order: 'post',
      handler: (gradients, step, control) => {
        if (gradients.size === 0) return gradients;
        bounds ??= createBounds(limitValue);
        const measured = measure(mode, gradients, bounds);
        const { norm } = measured;
        step.record('gradNorm', norm);
        if (nonFinite !== 'pass' && refuseNonFinite(norm, nonFinite, step.step, control)) {
          clippedSteps.addSkipped();
          // The update is skipped, so that nothing is clipped; the report shows the norm that is not finite.
          step.record('gradNormClipped', norm);
          step.record('clippedShare', clippedSteps.share());
          return gradients;
        }
        const result =
          mode === 'norm'
            ? clippedByNorm(gradients, measured, bounds)
            : clip(mode, gradients, step.parameters, norm, limitValue, bounds);
        clippedSteps.add(result.clipped);
        step.record(
          'gradNormClipped',
          mode === 'norm' ? (minimum(norm, bounds.limit) as Scalar) : globalNorm(result.gradients.values()),
        );
        step.record('clippedShare', clippedSteps.share());
        return result.gradients;
      },
    },
    saveState: () => clippedSteps.saveState(),
    loadState: (state) => clippedSteps.loadState(state),
    dispose: () => {
      for (const bound of Object.values(bounds ?? {})) bound.dispose();
      bounds = null;
      clippedSteps.dispose();
    },
  };
}
