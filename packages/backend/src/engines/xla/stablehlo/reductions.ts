import { isFloat, type Hlo, type ModuleBuilder, type Row, tensorType, i64s } from './builder.js';
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

const keep = (b: ModuleBuilder, reduced: Hlo, x: Hlo, axes: readonly number[]): Hlo =>
  b.reshape(
    reduced,
    x.shape.map((size, axis) => (axes.includes(axis) ? 1 : size)),
  );

function reduction(op: string, initial: (x: Hlo) => number): Row {
  return (b, [x, axes], attributes) => {
    const chosen = axesOf(b, axes!, x!.shape.length);
    const reduced = chosen.length === 0 ? x! : b.reduce(op, x!, chosen, initial(x!));
    return flagOf(attributes, 'keep_dims') ? keep(b, reduced, x!, chosen) : reduced;
  };
}

const sum = reduction('add', () => 0);

const mean: Row = (b, inputs, attributes, results) => {
  const total = sum(b, inputs, attributes, results) as Hlo;
  const [x] = inputs as [Hlo];
  const count = sizeOfShape(x.shape) / Math.max(1, sizeOfShape(total.shape));
  return b.binary('divide', total, b.splat(total.type, total.shape, count));
};

/**
 * Where the largest or smallest number stands: the first one of equals. A NaN counts as less than everything (for the
 * smallest, as more), as tfjs-core has it.
 */
function argument(direction: 'GT' | 'LT'): Row {
  return (b, [given, axis]) => {
    const bound = direction === 'GT' ? lowest(given!) : highest(given!);
    const x = isFloat(given!.type)
      ? b.select(b.compare('NE', given!, given!), b.splat(given!.type, given!.shape, bound), given!)
      : given!;
    const [chosen = 0] = axesOf(b, axis!, x.shape.length);
    const places = b.iota(x.shape, chosen);
    const shape = x.shape.filter((_, position) => position !== chosen);
    const value = tensorType(x.type, []);
    const truth = tensorType('bool', []);
    const whole = tensorType('int32', []);
    const n = b.fresh();
    const compare = (name: string, a: string, c: string, type: string, way: string): string =>
      `%${name}${n} = "stablehlo.compare"(%${a}${n}, %${c}${n}) <{comparison_direction = ` +
      `#stablehlo<comparison_direction ${way}>}> : (${type}, ${type}) -> ${truth} `;
    const logic = (name: string, op: string, a: string, c: string): string =>
      `%${name}${n} = "stablehlo.${op}"(%${a}${n}, %${c}${n}) : (${truth}, ${truth}) -> ${truth} `;
    const choose = (name: string, a: string, c: string, type: string): string =>
      `%${name}${n} = "stablehlo.select"(%take${n}, %${a}${n}, %${c}${n}) : (${truth}, ${type}, ${type}) -> ${type} `;
    const region =
      `{ ^bb0(%v${n}: ${value}, %i${n}: ${whole}, %w${n}: ${value}, %j${n}: ${whole}): ` +
      compare('better', 'v', 'w', value, direction) +
      compare('same', 'v', 'w', value, 'EQ') +
      compare('before', 'i', 'j', whole, 'LT') +
      logic('tie', 'and', 'same', 'before') +
      logic('take', 'or', 'better', 'tie') +
      choose('value', 'v', 'w', value) +
      choose('place', 'i', 'j', whole) +
      `"stablehlo.return"(%value${n}, %place${n}) : (${value}, ${whole}) -> () }`;
    const [, place] = b.calls(
      'stablehlo.reduce',
      [x, places, b.splat(x.type, [], bound), b.splat('int32', [], 2 ** 31 - 1)],
      [
        { type: x.type, shape },
        { type: 'int32', shape },
      ],
      `dimensions = ${i64s([chosen])}`,
      region,
    );
    return place as Hlo;
  };
}

/** Running totals in ⌈log₂ n⌉ passes, each adding what stands a power of two further back. */
function cumulative(op: 'add' | 'multiply'): Row {
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

/** Scores less their largest, and the sums of their exponentials. */
function shifted(b: ModuleBuilder, x: Hlo): { readonly scores: Hlo; readonly exponentials: Hlo; readonly total: Hlo } {
  const last = x.shape.length - 1;
  const rows = x.shape.slice(0, -1).map((_, axis) => axis);
  const largest = b.reduce('maximum', x, [last], -Infinity);
  const scores = b.binary('subtract', x, b.place(largest, x.shape, rows));
  const exponentials = b.unary('exponential', scores);
  return { scores, exponentials, total: b.reduce('add', exponentials, [last], 0) };
}

const rowsOf = (x: Hlo): number[] => x.shape.slice(0, -1).map((_, axis) => axis);

export const reductionRows: Readonly<Record<string, Row>> = {
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
    return b.binary('divide', exponentials, b.place(total, x!.shape, rowsOf(x!)));
  },
  LogSoftmax: (b, [x]) => {
    const { scores, total } = shifted(b, x!);
    return b.binary('subtract', scores, b.place(b.unary('log', total), x!.shape, rowsOf(x!)));
  },
  TopKV2: (b, [x, k]) => {
    const [count = 1] = b.numbers(k!);
    const shape = [...x!.shape.slice(0, -1), count];
    const given = x!.type === 'bool' ? b.convert(x!, 'int32') : x!;
    const [values, places] = b.calls(
      'chlo.top_k',
      [given],
      [
        { type: given.type, shape },
        { type: 'int32', shape },
      ],
      `k = ${count} : i64`,
    ) as [Hlo, Hlo];
    return [b.convert(values, x!.type), places];
  },
};
