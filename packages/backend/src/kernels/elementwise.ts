import { backend_util, upcastType, type DataType } from '@tensorflow/tfjs-core';
import { sameShape } from '@whetstone/core/util';
import { type StorageDtype, type TensorSpec } from '../recorder/types.js';
import { type Emitter, float, type } from './emitter.js';
import { scalar, type Kernel } from './kernel.js';

export const cast = <T>(emit: Emitter<T>, tensor: T, to: StorageDtype): T =>
  emit.typeOf(tensor) === to ? tensor : emit.op('Cast', [tensor], { DstT: type(to) });

/** Returns bool as int32 and numbers unchanged: TensorFlow sums and orders only numbers. */
export const boolToInt = <T>(emit: Emitter<T>, tensor: T): T =>
  emit.typeOf(tensor) === 'bool' ? cast(emit, tensor, 'int32') : tensor;

const first = (inputs: readonly TensorSpec[]): TensorSpec => inputs[0] as TensorSpec;

/**
 * Returns a kernel `x → f(x)` of the same shape and dtype.
 *
 * @param domain `floats` if TensorFlow's op takes no integers, which are then cast to float32 and back
 */
function unary(name: string, op: string, domain: 'floats' | 'numbers'): Kernel {
  return {
    name,
    inputs: ['x'],
    // tfjs-core expects the dtype of x, except for Exp.
    rule: (inputs) => ({
      outputs: [name === 'Exp' ? { shape: first(inputs).shape, dtype: 'float32' } : first(inputs)],
    }),
    tensorflow: (emit, [x]) => {
      const dtype = emit.typeOf(x!);
      const needed =
        dtype === 'float32' || dtype === 'bfloat16' || (domain === 'numbers' && dtype === 'int32')
          ? dtype
          : domain === 'numbers'
            ? 'int32'
            : 'float32';
      return cast(emit, emit.op(op, [cast(emit, x!, needed)]), name === 'Exp' ? 'float32' : dtype);
    },
  };
}

/** Returns a kernel from numbers to bool. Integers are cast to float32. */
function test(name: string): Kernel {
  return {
    name,
    inputs: ['x'],
    rule: (inputs) => ({ outputs: [{ shape: first(inputs).shape, dtype: 'bool' }] }),
    tensorflow: (emit, [x]) => emit.op(name, [cast(emit, x!, 'float32')]),
  };
}

/** −1, 0 or 1. tfjs-core expects 0 for NaN. */
const sign: Kernel = {
  name: 'Sign',
  inputs: ['x'],
  rule: (inputs) => ({ outputs: [first(inputs)] }),
  tensorflow: (emit, [x]) => {
    const dtype = emit.typeOf(x!);
    if (dtype !== 'float32') return cast(emit, emit.op('Sign', [cast(emit, x!, 'int32')]), dtype);
    return emit.op('SelectV2', [emit.op('IsNan', [x!]), emit.constant('float32', [], [0]), emit.op('Sign', [x!])]);
  },
};

function broadcast(inputs: readonly TensorSpec[]): readonly number[] {
  const [a, b] = inputs as readonly [TensorSpec, TensorSpec];
  return backend_util.assertAndGetBroadcastShape(a.shape as number[], b.shape as number[]);
}

/** Returns a kernel `(a, b) → f(a, b)` with broadcasting. bool operands are cast to int32. */
function binary(name: string, op: string, domain: 'floats' | 'numbers' = 'numbers'): Kernel {
  return {
    name,
    inputs: ['a', 'b'],
    rule: (inputs) => ({ outputs: [{ shape: broadcast(inputs), dtype: first(inputs).dtype }] }),
    tensorflow: (emit, [a, b]) => {
      const dtype = emit.typeOf(a!);
      const needed = domain === 'floats' ? 'float32' : dtype === 'bool' ? 'int32' : dtype;
      return cast(emit, emit.op(op, [cast(emit, a!, needed), cast(emit, b!, needed)]), dtype);
    },
  };
}

/** Returns a kernel that compares numbers, with broadcasting. */
function comparison(name: string): Kernel {
  return {
    name,
    inputs: ['a', 'b'],
    rule: (inputs) => ({ outputs: [{ shape: broadcast(inputs), dtype: 'bool' }] }),
    tensorflow: (emit, [a, b]) => {
      const dtype = emit.typeOf(a!);
      const needed = dtype === 'bool' && name !== 'Equal' && name !== 'NotEqual' ? 'int32' : dtype;
      return emit.op(name, [cast(emit, a!, needed), cast(emit, b!, needed)]);
    },
  };
}

function logical(name: string, op: string): Kernel {
  return {
    name,
    inputs: ['a', 'b'],
    rule: (inputs) => ({ outputs: [{ shape: broadcast(inputs), dtype: 'bool' }] }),
    tensorflow: (emit, [a, b]) => emit.op(op, [cast(emit, a!, 'bool'), cast(emit, b!, 'bool')]),
  };
}

const floatOnly = [
  'Acos',
  'Acosh',
  'Asin',
  'Asinh',
  'Atan',
  'Atanh',
  'Cos',
  'Cosh',
  'Erf',
  'Exp',
  'Expm1',
  'Log',
  'Log1p',
  'Rsqrt',
  'Sigmoid',
  'Sin',
  'Sinh',
  'Softplus',
  'Sqrt',
  'Tan',
  'Tanh',
  'Ceil',
  'Floor',
  'Round',
  'Elu',
  'Selu',
  'Reciprocal',
];
const anyNumber = ['Abs', 'Neg', 'Square', 'Relu', 'Relu6'];

/** Returns the dtype in which values are compared and added: int32 for bool. */
const numberType = ({ dtype }: TensorSpec): StorageDtype => (dtype === 'bool' ? 'int32' : (dtype as StorageDtype));

const clip: Kernel = {
  name: 'ClipByValue',
  inputs: ['x'],
  rule: (inputs, { clipValueMin, clipValueMax }) => ({
    outputs: [first(inputs)],
    host: [
      scalar(clipValueMin as number, numberType(first(inputs))),
      scalar(clipValueMax as number, numberType(first(inputs))),
    ],
  }),
  tensorflow: (emit, [x], [low, high]) =>
    cast(
      emit,
      emit.op('Minimum', [emit.op('Maximum', [cast(emit, x!, emit.typeOf(low!)), low!]), high!]),
      emit.typeOf(x!),
    ),
};

const castKernel: Kernel = {
  name: 'Cast',
  inputs: ['x'],
  rule: (inputs, { dtype }) => ({
    outputs: [{ shape: first(inputs).shape, dtype: dtype as DataType }],
    parameters: [dtype as string],
  }),
  tensorflow: (emit, [x], _, [dtype]) => emit.op('Cast', [x!], { DstT: type(dtype as StorageDtype) }),
};

/** `x > 0 ? 1 : alpha`; NaN stays NaN. */
const step: Kernel = {
  name: 'Step',
  inputs: ['x'],
  rule: (inputs, { alpha }) => ({
    outputs: [first(inputs)],
    host: [scalar((alpha as number | undefined) ?? 0, numberType(first(inputs)))],
  }),
  tensorflow: (emit, [given], [alpha]) => {
    const kind = emit.typeOf(alpha!);
    const x = cast(emit, given!, kind);
    const zero = emit.constant(kind, [], [0]);
    const one = emit.constant(kind, [], [1]);
    const stepped = emit.op('SelectV2', [emit.op('Greater', [x, zero]), one, alpha!]);
    return kind === 'float32'
      ? emit.op('SelectV2', [emit.op('IsNan', [x]), x, stepped])
      : cast(emit, stepped, emit.typeOf(given!));
  },
};

const leakyRelu: Kernel = {
  name: 'LeakyRelu',
  inputs: ['x'],
  rule: (inputs, { alpha }) => ({
    outputs: [{ shape: first(inputs).shape, dtype: 'float32' }],
    parameters: [alpha as number],
  }),
  tensorflow: (emit, [x], _, [alpha]) =>
    emit.op('LeakyRelu', [cast(emit, x!, 'float32')], { alpha: float(alpha as number) }),
};

const prelu: Kernel = {
  name: 'Prelu',
  inputs: ['x', 'alpha'],
  rule: (inputs) => ({ outputs: [{ shape: broadcast(inputs), dtype: 'float32' }] }),
  tensorflow: (emit, [given, alpha]) => {
    const zero = emit.constant('float32', [], [0]);
    const x = cast(emit, given!, 'float32');
    return emit.op('SelectV2', [
      emit.op('GreaterEqual', [x, zero]),
      x,
      emit.op('Mul', [x, cast(emit, alpha!, 'float32')]),
    ]);
  },
};

const eluGradient: Kernel = {
  name: 'EluGrad',
  inputs: ['dy', 'y'],
  rule: (inputs) => ({ outputs: [inputs[1] as TensorSpec] }),
  tensorflow: (emit, [dy, y]) => emit.op('EluGrad', [dy!, y!]),
};

/**
 * The sum of tensors of one shape, from left to right. TensorFlow's AddN starts with an operand whose memory it can
 * reuse, so that its rounding differs between graphs.
 */
const addition: Kernel = {
  name: 'AddN',
  inputs: 'list',
  rule: (inputs) => ({ outputs: [first(inputs)] }),
  tensorflow: (emit, inputs) => {
    const dtype = emit.typeOf(inputs[0]!);
    const [first, ...others] = inputs.map((input) => boolToInt(emit, input));
    return cast(
      emit,
      others.reduce((sum, other) => emit.op('AddV2', [sum, other]), first!),
      dtype,
    );
  },
};

/**
 * Elements of `t` or `e`. A condition of rank 1 selects whole rows. Otherwise shapes are equal, or must be broadcast to
 * an axis of length 0, which tfjs-core leaves to the kernel.
 */
const select: Kernel = {
  name: 'Select',
  inputs: ['condition', 't', 'e'],
  rule: (inputs) => {
    const [condition, t, e] = inputs as readonly [TensorSpec, TensorSpec, TensorSpec];
    const selectsRows = condition.shape.length === 1 && t.shape.length > 1;
    const broadcasts = !selectsRows && !(sameShape(condition.shape, t.shape) && sameShape(t.shape, e.shape));
    const dtype = upcastType(t.dtype, e.dtype);
    return {
      outputs: [{ shape: broadcasts ? broadcast([{ shape: broadcast([condition, t]), dtype }, e]) : t.shape, dtype }],
      parameters: [broadcasts, dtype],
    };
  },
  tensorflow: (emit, [condition, t, e], _, [broadcasts, dtype]) =>
    emit.op(broadcasts === true ? 'SelectV2' : 'Select', [
      cast(emit, condition!, 'bool'),
      cast(emit, t!, dtype as StorageDtype),
      cast(emit, e!, dtype as StorageDtype),
    ]),
};

const logicalNot: Kernel = {
  name: 'LogicalNot',
  inputs: ['x'],
  rule: (inputs) => ({ outputs: [{ shape: first(inputs).shape, dtype: 'bool' }] }),
  tensorflow: (emit, [x]) => emit.op('LogicalNot', [cast(emit, x!, 'bool')]),
};

function filledLike(name: 'ZerosLike' | 'OnesLike'): Kernel {
  return {
    name,
    inputs: ['x'],
    rule: (inputs) => ({ outputs: [first(inputs)] }),
    tensorflow: (emit, [x]) => emit.op(name, [x!]),
  };
}

export const elementwise: readonly Kernel[] = [
  ...floatOnly.map((name) => unary(name, name === 'Round' ? 'Rint' : name, 'floats')),
  ...anyNumber.map((name) => unary(name, name, 'numbers')),
  ...['IsNan', 'IsInf', 'IsFinite'].map(test),
  binary('Add', 'AddV2'),
  binary('Sub', 'Sub'),
  binary('Multiply', 'Mul'),
  binary('RealDiv', 'RealDiv', 'floats'),
  binary('FloorDiv', 'FloorDiv'),
  binary('Mod', 'FloorMod'),
  binary('Pow', 'Pow'),
  binary('Maximum', 'Maximum'),
  binary('Minimum', 'Minimum'),
  binary('SquaredDifference', 'SquaredDifference'),
  binary('Atan2', 'Atan2', 'floats'),
  binary('BitwiseAnd', 'BitwiseAnd'),
  ...['Equal', 'NotEqual', 'Less', 'LessEqual', 'Greater', 'GreaterEqual'].map(comparison),
  logical('LogicalAnd', 'LogicalAnd'),
  logical('LogicalOr', 'LogicalOr'),
  logical('LogicalXor', 'NotEqual'),
  sign,
  logicalNot,
  clip,
  castKernel,
  step,
  leakyRelu,
  prelu,
  eluGradient,
  addition,
  select,
  filledLike('ZerosLike'),
  filledLike('OnesLike'),
];
