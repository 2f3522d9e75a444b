import type { StorageDtype } from '../../../recorder/types.js';
import { isFloat, type Hlo, type ModuleBuilder, type OpLowering } from './builder.js';

/** Returns the shape that all inputs broadcast to. The kernels' shape rules have checked that it exists. */
function common(shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, position) => {
    let size = 1;
    for (const shape of shapes) {
      const own = shape[position - rank + shape.length] ?? 1;
      if (own !== 1) size = own;
    }
    return size;
  });
}

function broadcastAll(b: ModuleBuilder, inputs: readonly Hlo[]): Hlo[] {
  const shape = common(inputs.map((input) => input.shape));
  return inputs.map((input) => b.broadcast(input, shape));
}

type Pair = (b: ModuleBuilder, x: Hlo, y: Hlo) => Hlo;

const pair =
  (compute: Pair): OpLowering =>
  (b, inputs) => {
    const [x, y] = broadcastAll(b, inputs) as [Hlo, Hlo];
    return compute(b, x, y);
  };

const number = (b: ModuleBuilder, x: Hlo, value: number): Hlo => b.splat(x.type, x.shape, value);
const positive = (b: ModuleBuilder, x: Hlo): Hlo => b.compare('GT', x, number(b, x, 0));

/** x − floor(x / y) · y, with the sign of `y`: the remainder of truncation, plus `y` if the signs differ. */
const floorMod: Pair = (b, x, y) => {
  const rest = b.binary('remainder', x, y);
  const zero = number(b, x, 0);
  const differs = b.compare(
    'NE',
    b.convert(b.compare('LT', rest, zero), 'int32'),
    b.convert(b.compare('LT', y, zero), 'int32'),
  );
  return b.select(b.binary('and', b.compare('NE', rest, zero), differs), b.binary('add', rest, y), rest);
};

const floorDiv: Pair = (b, x, y) => {
  if (isFloat(x.type)) return b.unary('floor', b.binary('divide', x, y));
  return b.binary('divide', b.binary('subtract', x, floorMod(b, x, y)), y);
};

const elu = (b: ModuleBuilder, x: Hlo): Hlo => b.select(positive(b, x), x, b.unary('exponential_minus_one', x));

const SELU_SCALE = 1.0507009873554805;
const SELU_ALPHA = 1.6732632423543772;

const unaryLowerings: Readonly<Record<string, string>> = {
  Acos: 'chlo.acos',
  Acosh: 'chlo.acosh',
  Asin: 'chlo.asin',
  Asinh: 'chlo.asinh',
  Atan: 'chlo.atan',
  Atanh: 'chlo.atanh',
  Cosh: 'chlo.cosh',
  Sinh: 'chlo.sinh',
  Erf: 'chlo.erf',
  Tan: 'chlo.tan',
  Exp: 'exponential',
  Expm1: 'exponential_minus_one',
  Log: 'log',
  Log1p: 'log_plus_one',
  Rsqrt: 'rsqrt',
  Sqrt: 'sqrt',
  Sigmoid: 'logistic',
  Tanh: 'tanh',
  Ceil: 'ceil',
  Floor: 'floor',
  Rint: 'round_nearest_even',
  Abs: 'abs',
  Neg: 'negate',
  Sign: 'sign',
};

const pairLowerings: Readonly<Record<string, string>> = {
  AddV2: 'add',
  Sub: 'subtract',
  Mul: 'multiply',
  RealDiv: 'divide',
  Pow: 'power',
  Maximum: 'maximum',
  Minimum: 'minimum',
  Atan2: 'atan2',
  BitwiseAnd: 'and',
  LogicalAnd: 'and',
  LogicalOr: 'or',
};

const comparisons = {
  Equal: 'EQ',
  NotEqual: 'NE',
  Less: 'LT',
  LessEqual: 'LE',
  Greater: 'GT',
  GreaterEqual: 'GE',
} as const;

const one =
  (compute: (b: ModuleBuilder, x: Hlo) => Hlo): OpLowering =>
  (b, inputs) =>
    compute(b, inputs[0] as Hlo);

const select: OpLowering = (b, [condition, yes, no]) => {
  const chosen =
    condition!.shape.length === 1 && yes!.shape.length > 1 ? b.broadcastAlong(condition!, yes!.shape, [0]) : condition!;
  const [c, y, n] = broadcastAll(b, [chosen, yes!, no!]) as [Hlo, Hlo, Hlo];
  return b.select(c, y, n);
};

/** Converts a tensor. Floats are truncated towards zero. */
function cast(b: ModuleBuilder, x: Hlo, type: StorageDtype): Hlo {
  if (type === 'uint8' && isFloat(x.type)) return b.convert(b.convert(x, 'int32'), type);
  return b.convert(x, type);
}

export const elementwiseLowerings: Readonly<Record<string, OpLowering>> = {
  ...Object.fromEntries(
    Object.entries(unaryLowerings).map(([name, op]): [string, OpLowering] => [name, one((b, x) => b.unary(op, x))]),
  ),
  ...Object.fromEntries(
    Object.entries(pairLowerings).map(([name, op]): [string, OpLowering] => [
      name,
      pair((b, x, y) => b.binary(op, x, y)),
    ]),
  ),
  ...Object.fromEntries(
    Object.entries(comparisons).map(([name, direction]): [string, OpLowering] => [
      name,
      pair((b, x, y) => b.compare(direction, x, y)),
    ]),
  ),
  // XLA would recompute them in each loop that reads them. Rotary positions are read by ten loops per layer.
  Cos: one((b, x) => b.computeOnce('cosine', x)),
  Sin: one((b, x) => b.computeOnce('sine', x)),
  Reciprocal: one((b, x) => b.binary('divide', number(b, x, 1), x)),
  Square: one((b, x) => b.binary('multiply', x, x)),
  Relu: one((b, x) => b.binary('maximum', x, number(b, x, 0))),
  Relu6: one((b, x) => b.binary('minimum', b.binary('maximum', x, number(b, x, 0)), number(b, x, 6))),
  Elu: one(elu),
  Selu: one((b, x) =>
    b.binary(
      'multiply',
      number(b, x, SELU_SCALE),
      b.select(positive(b, x), x, b.binary('multiply', number(b, x, SELU_ALPHA), b.unary('exponential_minus_one', x))),
    ),
  ),
  Softplus: one((b, x) =>
    b.binary(
      'add',
      b.binary('maximum', x, number(b, x, 0)),
      b.unary('log_plus_one', b.unary('exponential', b.unary('negate', b.unary('abs', x)))),
    ),
  ),
  SoftplusGrad: (b, [dy, x]) => b.binary('multiply', dy!, b.unary('logistic', x!)),
  EluGrad: (b, [dy, y]) =>
    b.select(
      b.compare('LT', y!, number(b, y!, 0)),
      b.binary('multiply', dy!, b.binary('add', y!, number(b, y!, 1))),
      dy!,
    ),
  LeakyRelu: (b, [x], { alpha }) =>
    b.select(positive(b, x!), x!, b.binary('multiply', x!, number(b, x!, alpha?.kind === 'float' ? alpha.value : 0.2))),
  IsNan: one((b, x) => b.compare('NE', x, x)),
  IsInf: one((b, x) => b.compare('EQ', b.unary('abs', x), number(b, x, Infinity))),
  IsFinite: one((b, x) => b.call('stablehlo.is_finite', [x], 'bool', x.shape)),
  LogicalNot: one((b, x) => b.unary('not', x)),
  FloorDiv: pair(floorDiv),
  FloorMod: pair(floorMod),
  SquaredDifference: pair((b, x, y) => {
    const difference = b.binary('subtract', x, y);
    return b.binary('multiply', difference, difference);
  }),
  AddN: (b, inputs) => inputs.reduce((sum, input) => b.binary('add', sum, input)),
  Select: select,
  SelectV2: (b, inputs) => {
    const [c, y, n] = broadcastAll(b, inputs) as [Hlo, Hlo, Hlo];
    return b.select(c, y, n);
  },
  Cast: (b, [x], { DstT }) => cast(b, x!, DstT?.kind === 'type' ? DstT.value : x!.type),
  ZerosLike: one((b, x) => number(b, x, 0)),
  OnesLike: one((b, x) => number(b, x, 1)),
  Identity: one((_, x) => x),
  // The compiler neither merges nor moves operations across the barrier.
  IdentityN: (b, inputs) => b.calls('stablehlo.optimization_barrier', inputs, inputs),
};
