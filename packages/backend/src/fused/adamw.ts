import type { Hlo, ModuleBuilder } from '../engines/xla/stablehlo/builder.js';
import { anyShape, flag, text, type } from '../kernels/attributes.js';
import type { Emitter } from '../kernels/emitter.js';
import type { Kernel, Parameters } from '../kernels/kernel.js';
import type { Spec } from '../recorder/types.js';

/** TensorFlow's name for a resource that gets a name of its own wherever it is made. */
const ANONYMOUS = 'cd2c89b7-88b7-44c8-ad83-06c2a9158347';
const float32 = { dtype: type('float32') } as const;

/**
 * The update in one pass over memory: TensorFlow's own Adam writes where it reads, and wants variables for that. They
 * live as long as the operation does. Its bias correction is left out (powers of 0), and ours goes into rate and
 * epsilon: s · m ÷ (√v · c + ε) = (s ÷ c) · m ÷ (√v + ε ÷ c).
 */
function updateVariables<T>(emit: Emitter<T>, inputs: readonly T[], [beta1, beta2, epsilon]: Parameters): T[] {
  const [parameter, gradient, first, second, stepSize, decay, correction] = inputs as readonly [T, T, T, T, T, T, T];
  const number = (value: unknown): T => emit.constant('float32', [], [Number(value)]);
  const variables = [emit.op('Mul', [parameter, decay]), first, second].map((value) => {
    const handle = emit.op('VarHandleOp', [], { ...float32, shape: anyShape, shared_name: text(ANONYMOUS) });
    return { handle, made: emit.op('AssignVariableOp', [handle, value], float32) };
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
    variables.map(({ made }) => made),
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
  const [parameter, gradient, first, second, stepSize, decay, correction] = inputs as readonly [
    Hlo,
    Hlo,
    Hlo,
    Hlo,
    Hlo,
    Hlo,
    Hlo,
  ];
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
 * `@whetstone/core/ops` says what it computes. Gives the new parameter, first and second moment.
 */
export const adamw: Kernel = {
  name: 'WhetstoneAdamW',
  inputs: ['parameter', 'gradient', 'firstMoment', 'secondMoment', 'stepSize', 'decay', 'correction'],
  list: true,
  // Resources are for functions: op by op their lifetimes would be the host's business.
  eager: false,
  replaces: [[0], [2], [3]],
  writesInPlace: true,
  hasEffects: true,
  rule: ([parameter], { beta1, beta2, epsilon }) => {
    const { shape } = parameter as Spec;
    const output = { shape, dtype: 'float32' as const };
    return { outputs: [output, output, output], parameters: [beta1 as number, beta2 as number, epsilon as number] };
  },
  tensorflow: (emit, inputs, _, parameters) => updateVariables(emit, inputs, parameters),
  stablehlo: lowerAdamW,
};
