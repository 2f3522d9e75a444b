import { type Emitter, flag, arithmetic } from '../kernels/emitter.js';
import type { Kernel } from '../kernels/kernel.js';
import { emitProduct } from '../kernels/matrix.js';
import type { TensorSpec } from '../recorder/types.js';

const product = <T>(emit: Emitter<T>, a: T, b: T, transposeA: boolean, transposeB: boolean): T =>
  emit.op('MatMul', [a, b], { transpose_a: flag(transposeA), transpose_b: flag(transposeB) });

/** Products of rank 1 add nothing up: they stay exact under every policy. */
const emitterForRank = <T>(emit: Emitter<T>, isOne: unknown): Emitter<T> =>
  isOne === true ? (emit.exact ?? emit) : emit;

const scaled = <T>(emit: Emitter<T>, narrow: T, scale: T | undefined): T =>
  scale === undefined ? narrow : arithmetic(emit).multiply(narrow, scale);

/**
 * `base + scale · (x · aᵀ) · bᵀ`, and the scaled product x · aᵀ: `addLowRank` of `@whetstone/core/ops`. Shapes: base
 * [tokens, out], x [tokens, in], a [rank, in], b [out, rank].
 */
const addLowRank: Kernel = {
  name: 'WhetstoneAddLowRank',
  inputs: ['base', 'x', 'a', 'b', 'scale'],
  returnsList: true,
  rule: ([base, x, a]) => {
    const [rank = 0] = (a as TensorSpec).shape;
    const [tokens = 0] = (x as TensorSpec).shape;
    return {
      outputs: [
        { shape: (base as TensorSpec).shape, dtype: 'float32' },
        { shape: [tokens, rank], dtype: 'float32' },
      ],
      parameters: [rank === 1],
    };
  },
  tensorflow: (emit, [base, x, a, b, scale], _, [isOne]) => {
    const narrow = scaled(emit, product(emit, x!, a!, false, true), scale);
    return [arithmetic(emit).add(base!, product(emitterForRank(emit, isOne), narrow, b!, false, true)), narrow];
  },
};

/** Gradients with respect to x, a and b. The gradient of base is the gradient of the result. */
const addLowRankGradient: Kernel = {
  name: 'WhetstoneAddLowRankGrad',
  inputs: ['gradient', 'x', 'a', 'b', 'narrow', 'scale'],
  returnsList: true,
  rule: ([, x, a, b]) => ({
    outputs: [x, a, b].map((operand) => ({ shape: (operand as TensorSpec).shape, dtype: 'float32' as const })),
    parameters: [(a as TensorSpec).shape[0] === 1],
  }),
  tensorflow: (emit, [gradient, x, a, b, narrow, scale], _, [isOne]) => {
    const narrowGradient = scaled(emit, product(emit, gradient!, b!, false, false), scale);
    return [
      product(emitterForRank(emit, isOne), narrowGradient, a!, false, false),
      product(emit, narrowGradient, x!, true, false),
      product(emit, gradient!, narrow!, true, false),
    ];
  },
};

/** Multiplies by the frozen matrix, which may be bfloat16 under that policy. */
const frozenProduct = <T>(emit: Emitter<T>, x: T, weight: T, transposed: boolean): T =>
  emitProduct(emit, x, weight, ['2d', false, transposed, 'float32']);

/** A frozen linear layer with a LoRA adapter: `adaptedLinear` of `@whetstone/core/ops`. */
const adaptedLinear: Kernel = {
  name: 'WhetstoneAdaptedLinear',
  isMatrixProduct: true,
  inputs: ['x', 'weight', 'a', 'b', 'scale', 'bias'],
  returnsList: true,
  rule: (inputs, { inFirst, hasScale }) => {
    const [x, , a, b] = inputs as readonly [TensorSpec, TensorSpec, TensorSpec, TensorSpec, ...TensorSpec[]];
    const [tokens = 0] = x.shape;
    const [rank = 0] = a.shape;
    const [out = 0] = b.shape;
    return {
      outputs: [
        [tokens, out],
        [tokens, rank],
      ].map((shape) => ({ shape, dtype: 'float32' as const })),
      parameters: [rank === 1, inFirst === true, hasScale === true, inputs.length > (hasScale === true ? 5 : 4)],
    };
  },
  tensorflow: (emit, [x, weight, a, b, ...others], _, [isOne, inFirst, hasScale, hasBias]) => {
    const { add } = arithmetic(emit);
    const base = frozenProduct(emit, x!, weight!, inFirst !== true);
    const narrow = scaled(emit, product(emit, x!, a!, false, true), hasScale === true ? others[0] : undefined);
    return [
      add(
        hasBias === true ? add(base, others.at(-1)!) : base,
        product(emitterForRank(emit, isOne), narrow, b!, false, true),
      ),
      narrow,
    ];
  },
};

/** Gradients with respect to x, a and b. */
const adaptedLinearGradient: Kernel = {
  name: 'WhetstoneAdaptedLinearGrad',
  isMatrixProduct: true,
  inputs: ['gradient', 'x', 'weight', 'a', 'b', 'narrow', 'scale'],
  returnsList: true,
  rule: ([, x, , a, b], { inFirst }) => ({
    outputs: [x, a, b].map((operand) => ({ shape: (operand as TensorSpec).shape, dtype: 'float32' as const })),
    parameters: [(a as TensorSpec).shape[0] === 1, inFirst === true],
  }),
  tensorflow: (emit, [gradient, x, weight, a, b, narrow, scale], _, [isOne, inFirst]) => {
    const narrowGradient = scaled(emit, product(emit, gradient!, b!, false, false), scale);
    const xGradient = arithmetic(emit).add(
      product(emitterForRank(emit, isOne), narrowGradient, a!, false, false),
      frozenProduct(emit, gradient!, weight!, inFirst === true),
    );
    return [xGradient, product(emit, narrowGradient, x!, true, false), product(emit, gradient!, narrow!, true, false)];
  },
};

export const lowRankKernels: readonly Kernel[] = [addLowRank, addLowRankGradient, adaptedLinear, adaptedLinearGradient];
