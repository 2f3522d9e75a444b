import { type Emitter, flag, arithmetic } from '../kernels/emitter.js';
import type { Kernel } from '../kernels/kernel.js';
import type { TensorSpec } from '../recorder/types.js';

/** Returns the mean over the last axis, which stays as an axis of length 1. */
const meanOfRows = <T>(emit: Emitter<T>, x: T, axis: number): T =>
  emit.op('Mean', [x, emit.constant('int32', [1], [axis])], { keep_dims: flag(true) });

/**
 * `x / √(mean(x²) + epsilon)` over the last axis, and the inverse root: `rmsNormalize` of `@whetstone/core/ops`.
 * Shapes: x [..., width], inverse root [..., 1].
 */
const rmsNormalize: Kernel = {
  name: 'WhetstoneRmsNormalize',
  inputs: ['x'],
  returnsList: true,
  rule: ([x], { epsilon }) => {
    const { shape } = x as TensorSpec;
    return {
      outputs: [
        { shape, dtype: 'float32' },
        { shape: [...shape.slice(0, -1), 1], dtype: 'float32' },
      ],
      parameters: [shape.length - 1, epsilon as number],
    };
  },
  tensorflow: (emit, [x], _, [axis, epsilon]) => {
    const { number, add, multiply, square } = arithmetic(emit);
    const inverse = emit.op('Rsqrt', [add(meanOfRows(emit, square(x!), axis as number), number(epsilon as number))]);
    return [multiply(x!, inverse), inverse];
  },
};

/** Gradient of RMS normalization with respect to x, from its value and inverse root. */
const rmsNormalizeGradient: Kernel = {
  name: 'WhetstoneRmsNormalizeGrad',
  inputs: ['gradient', 'value', 'inverse', 'weight'],
  returnsList: true,
  rule: ([gradient]) => ({
    outputs: [gradient as TensorSpec],
    parameters: [(gradient as TensorSpec).shape.length - 1],
  }),
  tensorflow: (emit, [gradient, value, inverse, weight], _, [axis]) => {
    const { subtract, multiply } = arithmetic(emit);
    const scaled = weight === undefined ? gradient! : multiply(gradient!, weight);
    const projection = meanOfRows(emit, multiply(scaled, value!), axis as number);
    return multiply(subtract(scaled, multiply(value!, projection)), inverse!);
  },
};

/**
 * `(x − mean) / √(variance + epsilon)` over the last axis, and the inverse root: `layerNormalize` of
 * `@whetstone/core/ops`.
 */
const layerNormalize: Kernel = {
  ...rmsNormalize,
  name: 'WhetstoneLayerNormalize',
  tensorflow: (emit, [x], _, [axis, epsilon]) => {
    const { number, add, subtract, multiply, square } = arithmetic(emit);
    const centred = subtract(x!, meanOfRows(emit, x!, axis as number));
    const inverse = emit.op('Rsqrt', [
      add(meanOfRows(emit, square(centred), axis as number), number(epsilon as number)),
    ]);
    return [multiply(centred, inverse), inverse];
  },
};

/** Gradient of layer normalization with respect to x, from its value and inverse root. */
const layerNormalizeGradient: Kernel = {
  ...rmsNormalizeGradient,
  name: 'WhetstoneLayerNormalizeGrad',
  tensorflow: (emit, [gradient, value, inverse], _, [axis]) => {
    const { subtract, multiply } = arithmetic(emit);
    const projection = meanOfRows(emit, multiply(gradient!, value!), axis as number);
    const centred = subtract(gradient!, meanOfRows(emit, gradient!, axis as number));
    return multiply(subtract(centred, multiply(value!, projection)), inverse!);
  },
};

export const normalizationKernels: readonly Kernel[] = [
  rmsNormalize,
  rmsNormalizeGradient,
  layerNormalize,
  layerNormalizeGradient,
];
