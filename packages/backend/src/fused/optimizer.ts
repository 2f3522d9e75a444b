import { WhetstoneError } from '@whetstone/core/contract';
import type { Hlo, ModuleBuilder } from '../engines/xla/stablehlo/builder.js';
import { anyShape, arithmetic, flag, text, type, type Emitter } from '../kernels/emitter.js';
import type { Kernel, Parameters } from '../kernels/kernel.js';
import type { TensorSpec } from '../recorder/types.js';

/** The shared name for which TensorFlow gives every created resource a name of its own. */
const ANONYMOUS = 'cd2c89b7-88b7-44c8-ad83-06c2a9158347';
const float32 = { dtype: type('float32') } as const;

/** Operands of an AdamW update: parameter, gradient, first moment, second moment, step size, decay, correction. */
type AdamWOperands<T> = readonly [T, T, T, T, T, T, T];

/**
 * Updates in one pass over memory with TensorFlow's own Adam, which updates variables in place. The variables exist
 * only during the operation. Adam's bias correction is turned off (powers of 0). Ours is part of the step size and of
 * epsilon: s · m ÷ (√v · c + ε) = (s ÷ c) · m ÷ (√v + ε ÷ c).
 */
function updateVariables<T>(emit: Emitter<T>, inputs: readonly T[], [beta1, beta2, epsilon]: Parameters): T[] {
  const [parameter, gradient, first, second, stepSize, decay, correction] = inputs as AdamWOperands<T>;
  const number = (value: unknown): T => emit.constant('float32', [], [Number(value)]);
  const variables = [emit.op('Mul', [parameter, decay]), first, second].map((value) => {
    const handle = emit.op('VarHandleOp', [], { ...float32, shape: anyShape, shared_name: text(ANONYMOUS) });
    return { handle, assigned: emit.op('AssignVariableOp', [handle, value], float32) };
  });
  const handles = variables.map(({ handle }) => handle);
  const rate = emit.op('RealDiv', [stepSize, correction]);
  const scalars = [
    number(0),
    number(0),
    rate,
    number(beta1),
    number(beta2),
    emit.op('RealDiv', [number(epsilon), correction]),
  ];
  const updated = emit.op(
    'ResourceApplyAdam',
    [...handles, ...scalars, gradient],
    { T: type('float32'), use_locking: flag(false) },
    variables.map(({ assigned }) => assigned),
  );
  const results = handles.map((handle) => emit.op('ReadVariableOp', [handle], float32, [updated]));
  handles.forEach((handle, index) => emit.op('DestroyResourceOp', [handle], {}, results.slice(index, index + 1)));
  return results;
}

function lowerAdamW(
  b: ModuleBuilder,
  inputs: readonly Hlo[],
  _: readonly Hlo[],
  [beta1, beta2, epsilon]: Parameters,
): Hlo[] {
  const [parameter, gradient, first, second, stepSize, decay, correction] = inputs as AdamWOperands<Hlo>;
  const { shape } = parameter;
  const number = (value: unknown): Hlo => b.splat('float32', shape, Number(value));
  const times = (x: Hlo, y: Hlo): Hlo => b.binary('multiply', x, b.broadcast(y, shape));
  const newFirst = b.binary('add', first, times(b.binary('subtract', gradient, first), number(1 - Number(beta1))));
  const newSecond = b.binary(
    'add',
    times(second, number(beta2)),
    times(b.binary('multiply', gradient, gradient), number(1 - Number(beta2))),
  );
  const denominator = b.binary('add', times(b.unary('sqrt', newSecond), correction), number(epsilon));
  const step = times(b.binary('divide', newFirst, denominator), stepSize);
  return [b.binary('subtract', times(parameter, decay), step), newFirst, newSecond];
}

/**
 * One AdamW update of one parameter, recorded as one operation instead of fourteen: `adamwUpdate` of
 * `@whetstone/core/ops`. Results are the new parameter, first moment and second moment.
 */
export const adamw: Kernel = {
  name: 'WhetstoneAdamW',
  inputs: ['parameter', 'gradient', 'firstMoment', 'secondMoment', 'stepSize', 'decay', 'correction'],
  returnsList: true,
  // Eager execution would leave the lifetime of the variables to the host.
  eager: false,
  replaces: [[0], [2], [3]],
  writesInPlace: true,
  hasSideEffects: true,
  rule: ([parameter], { beta1, beta2, epsilon }) => {
    const { shape } = parameter as TensorSpec;
    const output = { shape, dtype: 'float32' as const };
    return { outputs: [output, output, output], parameters: [beta1 as number, beta2 as number, epsilon as number] };
  },
  tensorflow: (emit, inputs, _, parameters) => updateVariables(emit, inputs, parameters),
  stablehlo: lowerAdamW,
};

/**
 * Clips tensors by their global norm: `clipByGlobalNorm` of `@whetstone/core/ops`. Results are the norm and the clipped
 * tensors. Each tensor is read twice: for its sum of squares and for its result.
 */
const clipByGlobalNorm: Kernel = {
  name: 'WhetstoneClipByGlobalNorm',
  inputs: 'list',
  returnsList: true,
  rule: ([, ...tensors], { epsilon }) => ({
    outputs: [
      { shape: [], dtype: 'float32' as const },
      ...tensors.map(({ shape }): TensorSpec => ({ shape, dtype: 'float32' })),
    ],
    parameters: [epsilon as number],
  }),
  tensorflow: (emit, [limit, ...tensors], _, [epsilon]) => {
    const { number, add, multiply } = arithmetic(emit);
    // L2Loss is half of the sum of squares.
    const halves = tensors.map((tensor) => emit.op('L2Loss', [tensor]));
    const [first, ...rest] = halves;
    if (first === undefined || limit === undefined)
      throw new WhetstoneError('BACKEND_FAILED', 'clipByGlobalNorm needs at least one tensor.');
    const norm = emit.op('Sqrt', [multiply(addInOrder(emit, [first, ...rest]), number(2))]);
    const factor = emit.op('Minimum', [number(1), emit.op('RealDiv', [limit, add(norm, number(epsilon as number))])]);
    return [norm, ...tensors.map((tensor) => multiply(tensor, factor))];
  },
};

/** Adds from left to right. AddN may start with any of its terms, which changes the rounding. */
const addInOrder = <T>(emit: Emitter<T>, terms: readonly T[]): T =>
  terms.reduce((sum, term) => arithmetic(emit).add(sum, term));

/** Returns the sum of all elements of all tensors: `finiteProbe` of `@whetstone/core/ops`. */
const sumOfAll: Kernel = {
  name: 'WhetstoneSumOfAll',
  inputs: 'list',
  returnsList: true,
  rule: (tensors) => ({
    outputs: [{ shape: [], dtype: 'float32' as const }],
    parameters: tensors.map(({ shape }) => shape.length),
  }),
  tensorflow: (emit, tensors, _, ranks) => {
    const sums = tensors.map((tensor, index) => {
      const rank = ranks[index] as number;
      const axes = Array.from({ length: rank }, (__, axis) => axis);
      return emit.op('Sum', [tensor, emit.constant('int32', [rank], axes)], { keep_dims: flag(false) });
    });
    return [addInOrder(emit, sums)];
  },
};

export const optimizerKernels: readonly Kernel[] = [adamw, clipByGlobalNorm, sumOfAll];
