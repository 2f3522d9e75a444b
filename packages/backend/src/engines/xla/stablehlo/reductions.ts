import { isFloat, type Hlo, type ModuleBuilder, type OpLowering, tensorType, i64s } from './builder.js';
import type { Attributes } from '../../../kernels/emitter.js';
import { sizeOfShape } from '@whetstone/core/util';

const flagOf = (attributes: Attributes, name: string): boolean => {
  const attribute = attributes[name];
  return attribute?.kind === 'bool' && attribute.value;
};

const axesOf = (b: ModuleBuilder, axes: Hlo, rank: number): number[] =>
  b
    .numbers(axes)
    .map((axis) => (axis < 0 ? axis + rank : axis))
    .sort((a, c) => a - c);

const lowest = (x: Hlo): number => (isFloat(x.type) ? -Infinity : x.type === 'int32' ? -(2 ** 31) : 0);
const highest = (x: Hlo): number => (isFloat(x.type) ? Infinity : x.type === 'int32' ? 2 ** 31 - 1 : 1);

const keepDims = (b: ModuleBuilder, reduced: Hlo, x: Hlo, axes: readonly number[]): Hlo =>
  b.reshape(
    reduced,
    x.shape.map((size, axis) => (axes.includes(axis) ? 1 : size)),
  );

function reduction(op: string, initial: (x: Hlo) => number): OpLowering {
  return (b, [x, axes], attributes) => {
    const chosen = axesOf(b, axes!, x!.shape.length);
    const reduced = chosen.length === 0 ? x! : b.reduce(op, x!, chosen, initial(x!));
    return flagOf(attributes, 'keep_dims') ? keepDims(b, reduced, x!, chosen) : reduced;
  };
}

const sum = reduction('add', () => 0);

const mean: OpLowering = (b, inputs, attributes, results) => {
  const total = sum(b, inputs, attributes, results) as Hlo;
  const [x] = inputs as [Hlo];
  const count = sizeOfShape(x.shape) / Math.max(1, sizeOfShape(total.shape));
  return b.binary('divide', total, b.splat(total.type, total.shape, count));
};

/**
 * Lowers the position of the largest or smallest number: the first of equal ones. A NaN is never chosen over a number,
 * as in tfjs-core.
 */
function argument(direction: 'GT' | 'LT'): OpLowering {
  return (b, [input, axis]) => {
    const bound = direction === 'GT' ? lowest(input!) : highest(input!);
    const x = isFloat(input!.type)
      ? b.select(b.compare('NE', input!, input!), b.splat(input!.type, input!.shape, bound), input!)
      : input!;
    const [chosen = 0] = axesOf(b, axis!, x.shape.length);
    const positions = b.iota(x.shape, chosen);
    const shape = x.shape.filter((_, position) => position !== chosen);
    const value = tensorType(x.type, []);
    const truth = tensorType('bool', []);
    const index = tensorType('int32', []);
    const n = b.fresh();
    const compare = (name: string, a: string, c: string, type: string, comparison: string): string =>
      `%${name}${n} = "stablehlo.compare"(%${a}${n}, %${c}${n}) <{comparison_direction = ` +
      `#stablehlo<comparison_direction ${comparison}>}> : (${type}, ${type}) -> ${truth} `;
    const logic = (name: string, op: string, a: string, c: string): string =>
      `%${name}${n} = "stablehlo.${op}"(%${a}${n}, %${c}${n}) : (${truth}, ${truth}) -> ${truth} `;
    const choose = (name: string, a: string, c: string, type: string): string =>
      `%${name}${n} = "stablehlo.select"(%take${n}, %${a}${n}, %${c}${n}) : (${truth}, ${type}, ${type}) -> ${type} `;
    const region =
      `{ ^bb0(%v${n}: ${value}, %i${n}: ${index}, %w${n}: ${value}, %j${n}: ${index}): ` +
      compare('better', 'v', 'w', value, direction) +
      compare('same', 'v', 'w', value, 'EQ') +
      compare('before', 'i', 'j', index, 'LT') +
      logic('tie', 'and', 'same', 'before') +
      logic('take', 'or', 'better', 'tie') +
      choose('value', 'v', 'w', value) +
      choose('place', 'i', 'j', index) +
      `"stablehlo.return"(%value${n}, %place${n}) : (${value}, ${index}) -> () }`;
    const [, position] = b.calls(
      'stablehlo.reduce',
      [x, positions, b.splat(x.type, [], bound), b.splat('int32', [], 2 ** 31 - 1)],
      [
        { type: x.type, shape },
        { type: 'int32', shape },
      ],
      `dimensions = ${i64s([chosen])}`,
      region,
    );
    return position as Hlo;
  };
}

/** Lowers running totals: ⌈log₂ n⌉ passes, each adding the elements a power of two before. */
function cumulative(op: 'add' | 'multiply'): OpLowering {
  return (b, [x, axis], attributes) => {
    const [chosen = 0] = axesOf(b, axis!, x!.shape.length);
    const length = x!.shape[chosen] ?? 0;
    const backwards = flagOf(attributes, 'reverse');
    const neutral = b.splat(x!.type, [], op === 'add' ? 0 : 1);
    const shift = (y: Hlo, by: number): Hlo => {
      const begin = y.shape.map((_, position) => (position === chosen && backwards ? by : 0));
      const end = y.shape.map((size, position) => (position === chosen && !backwards ? size - by : size));
      const pads = y.shape.map((_, position) => (position === chosen ? by : 0));
      const none = pads.map(() => 0);
      return b.pad(b.slice(y, begin, end), backwards ? none : pads, backwards ? pads : none, neutral);
    };
    let total = flagOf(attributes, 'exclusive') && length > 0 ? shift(x!, 1) : x!;
    for (let by = 1; by < length; by *= 2) total = b.binary(op, total, shift(total, by));
    return total;
  };
}

/** Returns scores minus their row's maximum, their exponentials, and the sums of these. */
function shifted(b: ModuleBuilder, x: Hlo): { readonly scores: Hlo; readonly exponentials: Hlo; readonly total: Hlo } {
  const last = x.shape.length - 1;
  const rows = x.shape.slice(0, -1).map((_, axis) => axis);
  const largest = b.reduce('maximum', x, [last], -Infinity);
  const scores = b.binary('subtract', x, b.broadcastAlong(largest, x.shape, rows));
  const exponentials = b.unary('exponential', scores);
  return { scores, exponentials, total: b.reduce('add', exponentials, [last], 0) };
}

const rowsOf = (x: Hlo): number[] => x.shape.slice(0, -1).map((_, axis) => axis);

export const reductionLowerings: Readonly<Record<string, OpLowering>> = {
  Sum: sum,
  Mean: mean,
  /** Half the sum of squares. */
  L2Loss: (b, [x]) => {
    const squares = b.binary('multiply', x!, x!);
    const total =
      x!.shape.length === 0
        ? squares
        : b.reduce(
            'add',
            squares,
            x!.shape.map((_, axis) => axis),
            0,
          );
    return b.binary('multiply', total, b.splat(x!.type, [], 0.5));
  },
  Prod: reduction('multiply', () => 1),
  Max: reduction('maximum', lowest),
  Min: reduction('minimum', highest),
  All: reduction('and', () => 1),
  Any: reduction('or', () => 0),
  ArgMax: argument('GT'),
  ArgMin: argument('LT'),
  Cumsum: cumulative('add'),
  Cumprod: cumulative('multiply'),
  Softmax: (b, [x]) => {
    const { exponentials, total } = shifted(b, x!);
    return b.binary('divide', exponentials, b.broadcastAlong(total, x!.shape, rowsOf(x!)));
  },
  LogSoftmax: (b, [x]) => {
    const { scores, total } = shifted(b, x!);
    return b.binary('subtract', scores, b.broadcastAlong(b.unary('log', total), x!.shape, rowsOf(x!)));
  },
  TopKV2: (b, [x, k]) => {
    const [count = 1] = b.numbers(k!);
    const shape = [...x!.shape.slice(0, -1), count];
    const operand = x!.type === 'bool' ? b.convert(x!, 'int32') : x!;
    const [values, indices] = b.calls(
      'chlo.top_k',
      [operand],
      [
        { type: operand.type, shape },
        { type: 'int32', shape },
      ],
      `k = ${count} : i64`,
    ) as [Hlo, Hlo];
    return [b.convert(values, x!.type), indices];
  },
};
