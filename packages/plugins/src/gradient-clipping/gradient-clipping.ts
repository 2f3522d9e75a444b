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
import { defaultsOf, WhetstoneError, type Callback, type Gradients, type Json } from '@whetstone/core/contract';
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

interface Bounds {
  readonly limit: Scalar;
  readonly epsilon: Scalar;
  readonly one: Scalar;
  readonly floor: Scalar;
}

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

/**
 * Creates a callback that clips the gradients before the update. It reports `gradNorm` (before), `gradNormClipped`
 * (after) and `clippedShare`, the share of steps so far in which a gradient was clipped. All values are computed on the
 * device. They are not read during the step, except with `nonFinite`.
 */
export function createGradientClipping(options: Partial<GradientClippingOptions> = {}): Callback {
  const { mode, maxNorm, maxValue, adaptiveFactor, nonFinite } = { ...defaultsOf(configSchema), ...options };
  const limitValue = mode === 'value' ? maxValue : mode === 'adaptive' ? adaptiveFactor : maxNorm;
  let bounds: Bounds | null = null;
  /** One number. A scalar would first be stored on the host, and the graph of the first step would differ. */
  let clippedSteps: Tensor1D | null = null;
  let clippedBefore = 0;
  let steps = 0;

  const prepare = (): Bounds => {
    bounds ??= {
      limit: keep(scalar(limitValue)),
      epsilon: keep(scalar(NORM_EPSILON)),
      one: keep(scalar(1)),
      floor: keep(scalar(weightNormFloor)),
    };
    return bounds;
  };

  return {
    transformGradients: {
      order: 'post',
      handler: (gradients, step, control) => {
        if (gradients.size === 0) return gradients;
        const ready = prepare();
        const together = mode === 'norm' ? clipByGlobalNorm([...gradients.values()], ready.limit) : null;
        const norm = together?.norm ?? globalNorm(gradients.values());
        step.record('gradNorm', norm);
        if (nonFinite !== 'pass') {
          const [value = Number.NaN] = norm.dataSync();
          if (!Number.isFinite(value)) {
            const reason = `the gradient norm of step ${step.step + 1} is ${value}`;
            if (nonFinite === 'stop')
              throw new WhetstoneError('NON_FINITE', `${reason[0]?.toUpperCase()}${reason.slice(1)}.`, {
                hint: 'Lower the learning rate, or set nonFinite to "skip".',
              });
            control.skipUpdate(reason);
            steps++;
            // The update is skipped, so that nothing is clipped; the report shows the norm that is not finite.
            step.record('gradNormClipped', norm);
            step.record(
              'clippedShare',
              tidy(() => div<Scalar>(clippedSteps === null ? scalar(clippedBefore) : sum(clippedSteps), scalar(steps))),
            );
            return gradients;
          }
        }
        const result: Clipped =
          mode === 'norm'
            ? {
                gradients: new Map(
                  [...gradients.keys()].map((name, index) => [name, together?.clipped[index] as Tensor]),
                ),
                clipped: anyAbove([[norm, ready.limit]]),
              }
            : clip(mode, gradients, step.parameters, norm, limitValue, ready);
        steps++;
        const before = clippedSteps;
        const total = tidy(() => add<Tensor1D>(before ?? tensor1d([clippedBefore], 'float32'), result.clipped));
        clippedSteps = keep(total);
        before?.dispose();
        step.record(
          'gradNormClipped',
          mode === 'norm' ? (minimum(norm, ready.limit) as Scalar) : globalNorm(result.gradients.values()),
        );
        step.record(
          'clippedShare',
          tidy(() => div<Scalar>(sum(total), scalar(steps))),
        );
        return result.gradients;
      },
    },
    saveState: (): Json => ({
      steps,
      clippedSteps: clippedSteps === null ? clippedBefore : (clippedSteps.dataSync()[0] ?? 0),
    }),
    loadState: (state) => {
      const saved = state as { readonly steps: number; readonly clippedSteps: number };
      steps = saved.steps;
      clippedBefore = saved.clippedSteps;
      clippedSteps?.dispose();
      clippedSteps = null;
    },
    dispose: () => {
      for (const tensor of [...Object.values(bounds ?? {}), clippedSteps]) tensor?.dispose();
      bounds = null;
      clippedSteps = null;
    },
  };
}
