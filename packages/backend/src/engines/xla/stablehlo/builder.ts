import { WhetstoneError } from '@whetstone/core/contract';
import { sameShape, sizeOfShape } from '@whetstone/core/util';
import type { Emitter, Attributes } from '../../../kernels/emitter.js';
import { type StorageDtype, type TensorSpec } from '../../../recorder/types.js';

/**
 * A tensor of a module in the making: a result that has a name, or numbers that are known and get one when somebody
 * computes with them.
 */
export interface Hlo {
  readonly type: StorageDtype;
  readonly shape: readonly number[];
  /** Name in the module; null where it has none yet. */
  name: string | null;
  /** Number among the module's inputs, or null. */
  readonly input: number | null;
  /** What the numbers are, where that is known while lowering. */
  readonly values: ArrayLike<number> | null;
}

/** Lowers one TensorFlow op to StableHLO. Lists of inputs come flattened. */
export type Row = (
  b: ModuleBuilder,
  inputs: readonly Hlo[],
  attributes: Attributes,
  results: number,
) => Hlo | readonly Hlo[];

const element: Readonly<Record<StorageDtype, string>> = {
  float32: 'f32',
  int32: 'i32',
  bool: 'i1',
  bfloat16: 'bf16',
  uint8: 'ui8',
  int8: 'i8',
};

export const tensorType = (type: StorageDtype, shape: readonly number[]): string =>
  `tensor<${shape.map((size) => `${size}x`).join('')}${element[type]}>`;

export const isFloat = (type: StorageDtype): boolean => type === 'float32' || type === 'bfloat16';

/** The bits of a float32 number. */
const float32Bits = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0] ?? 0;

const hex = (bits: number, digits: number): string => `0x${bits.toString(16).padStart(digits, '0').toUpperCase()}`;

/** Writes a number as an exact MLIR literal. */
function literal(type: StorageDtype, value: number): string {
  if (type === 'bool') return value === 0 ? 'false' : 'true';
  if (type === 'float32') return hex(float32Bits(value), 8);
  if (type === 'bfloat16') return hex(float32Bits(value) >>> 16, 4);
  return String(Math.trunc(value));
}

/** How the numbers compare that these reductions keep. */
const extremes: Readonly<Record<string, string>> = { maximum: 'GT', minimum: 'LT' };

export const i64s = (values: readonly number[]): string =>
  values.length === 0 ? 'array<i64>' : `array<i64: ${values.join(', ')}>`;

/** Writes the text of one StableHLO module. Operations are spelled in MLIR's generic form, which changes least. */
export class ModuleBuilder implements Emitter<Hlo> {
  private readonly lines: string[] = [];
  private readonly constants = new Map<string, string>();
  /** Inputs whose numbers became part of the module. */
  readonly fixed = new Set<number>();
  /** Inputs that stay inputs. */
  readonly used = new Set<number>();
  /** Step of the program at which each line was written. */
  readonly stepOfLine: number[] = [];
  step = 0;
  /** How many numbers the module computes, products of matrices counted in full. */
  work = 0;
  private count = 0;

  /** Inputs of which each replica has its own, by the one that stands for them. */
  readonly shards = new Map<number, readonly number[]>();

  constructor(
    private readonly rows: Readonly<Record<string, Row>>,
    private readonly replicas = 1,
    /** Whether the module is for a processor: lowerings then choose what its compiler and caches like best. */
    readonly onProcessor = false,
  ) {}

  // What kernels call.

  op(name: string, inputs: readonly (Hlo | readonly Hlo[])[], attributes: Attributes = {}): Hlo {
    const [first] = this.ops(name, inputs, attributes, 1);
    if (first === undefined) throw new WhetstoneError('INTERNAL', `The lowering of ${name} gave nothing.`);
    return first;
  }

  ops(name: string, inputs: readonly (Hlo | readonly Hlo[])[], attributes: Attributes, results: number): Hlo[] {
    const row = this.rows[name];
    if (row === undefined) throw new WhetstoneError('BACKEND_FAILED', `The op ${name} has no lowering to StableHLO.`);
    const made = row(this, inputs.flat() as readonly Hlo[], attributes, results);
    return Array.isArray(made) ? [...(made as readonly Hlo[])] : [made as Hlo];
  }

  constant(type: StorageDtype, shape: readonly number[], values: readonly number[]): Hlo {
    return { type, shape, name: null, input: null, values };
  }

  typeOf(tensor: Hlo): StorageDtype {
    return tensor.type;
  }

  // What lowerings call.

  /** The numbers of a tensor whose content is part of the module: a shape, an axis, a slice's begin. */
  numbers(tensor: Hlo): number[] {
    if (tensor.values === null)
      throw new WhetstoneError(
        'BACKEND_FAILED',
        `XLA needs shapes that are known on the host, but [${tensor.shape.join(', ')}] was computed.`,
      );
    if (tensor.input !== null) this.fixed.add(tensor.input);
    return Array.from(tensor.values);
  }

  /** The name of a tensor that is computed with. */
  use(tensor: Hlo): string {
    if (tensor.name !== null) return tensor.name;
    if (tensor.input !== null) {
      this.used.add(tensor.input);
      tensor.name = `%arg${tensor.input}`;
      return tensor.name;
    }
    tensor.name = this.spell(tensor.type, tensor.shape, tensor.values ?? []);
    return tensor.name;
  }

  /** A tensor filled with one number. */
  splat(type: StorageDtype, shape: readonly number[], value: number): Hlo {
    const scalar: Hlo = { type, shape: [], name: null, input: null, values: [value] };
    return shape.length === 0 ? scalar : this.broadcast(scalar, shape);
  }

  /** Adds one operation with one result. `attributes` stand between `<{` and `}>`. */
  call(
    name: string,
    inputs: readonly Hlo[],
    type: StorageDtype,
    shape: readonly number[],
    attributes = '',
    region = '',
  ): Hlo {
    const [result] = this.calls(name, inputs, [{ type, shape }], attributes, region);
    return result as Hlo;
  }

  calls(
    name: string,
    inputs: readonly Hlo[],
    results: readonly { readonly type: StorageDtype; readonly shape: readonly number[] }[],
    attributes = '',
    region = '',
  ): Hlo[] {
    const names = inputs.map((input) => this.use(input));
    const base = `%${this.count++}`;
    const types = inputs.map(({ type, shape }) => tensorType(type, shape)).join(', ');
    const made = results.map(({ type, shape }) => tensorType(type, shape));
    for (const { shape } of results) this.work += sizeOfShape(shape);
    const result = results.length === 1 ? base : `${base}:${results.length}`;
    const properties = attributes === '' ? '' : ` <{${attributes}}>`;
    const body = region === '' ? '' : ` (${region})`;
    const resultTypes = made.length === 1 ? made[0] : `(${made.join(', ')})`;
    this.line(`${result} = "${name}"(${names.join(', ')})${properties}${body} : (${types}) -> ${resultTypes}`);
    return results.map(({ type, shape }, index) => ({
      type,
      shape,
      name: results.length === 1 ? base : `${base}#${index}`,
      input: null,
      values: null,
    }));
  }

  /** The same numbers under another shape. */
  reshape(x: Hlo, shape: readonly number[]): Hlo {
    return sameShape(x.shape, shape) ? x : this.call('stablehlo.reshape', [x], x.type, shape);
  }

  /** Broadcasts along new first axes and axes of length one, as NumPy does. */
  broadcast(x: Hlo, shape: readonly number[]): Hlo {
    if (sameShape(x.shape, shape)) return x;
    const offset = shape.length - x.shape.length;
    return this.call(
      'stablehlo.broadcast_in_dim',
      [x],
      x.type,
      shape,
      `broadcast_dimensions = ${i64s(x.shape.map((_, axis) => axis + offset))}`,
    );
  }

  /** Places the axes of `x` at `axes` of a larger shape. */
  place(x: Hlo, shape: readonly number[], axes: readonly number[]): Hlo {
    return this.call('stablehlo.broadcast_in_dim', [x], x.type, shape, `broadcast_dimensions = ${i64s(axes)}`);
  }

  convert(x: Hlo, type: StorageDtype): Hlo {
    if (x.type === type) return x;
    if (type === 'bool') return this.compare('NE', x, this.splat(x.type, x.shape, 0));
    return this.call('stablehlo.convert', [x], type, x.shape);
  }

  compare(direction: 'EQ' | 'NE' | 'LT' | 'LE' | 'GT' | 'GE', a: Hlo, b: Hlo): Hlo {
    return this.call(
      'stablehlo.compare',
      [a, b],
      'bool',
      a.shape,
      `comparison_direction = #stablehlo<comparison_direction ${direction}>`,
    );
  }

  select(condition: Hlo, yes: Hlo, no: Hlo): Hlo {
    return this.call('stablehlo.select', [condition, yes, no], yes.type, yes.shape);
  }

  /** Both operands of the same shape: `stablehlo.add` and its like. */
  binary(name: string, a: Hlo, b: Hlo): Hlo {
    return this.call(`stablehlo.${name}`, [a, b], a.type, a.shape);
  }

  unary(name: string, x: Hlo): Hlo {
    return this.call(name.includes('.') ? name : `stablehlo.${name}`, [x], x.type, x.shape);
  }

  /**
   * A function's results, computed once whoever reads them: XLA's compiler repeats no division in several loops, and
   * does not know that this one is by 1.
   */
  once(name: string, x: Hlo): Hlo {
    const one = this.binary(
      'add',
      this.binary('multiply', x, this.splat(x.type, x.shape, 0)),
      this.splat(x.type, x.shape, 1),
    );
    return this.binary('divide', this.unary(name, x), one);
  }

  transpose(x: Hlo, order: readonly number[]): Hlo {
    if (order.every((axis, position) => axis === position)) return x;
    return this.call(
      'stablehlo.transpose',
      [x],
      x.type,
      order.map((axis) => x.shape[axis] ?? 1),
      `permutation = ${i64s(order)}`,
    );
  }

  slice(
    x: Hlo,
    begin: readonly number[],
    end: readonly number[],
    strides: readonly number[] = begin.map(() => 1),
  ): Hlo {
    const shape = begin.map((start, axis) => Math.max(0, Math.ceil(((end[axis] ?? 0) - start) / (strides[axis] ?? 1))));
    if (sameShape(shape, x.shape) && strides.every((stride) => stride === 1)) return x;
    return this.call(
      'stablehlo.slice',
      [x],
      x.type,
      shape,
      `start_indices = ${i64s(begin)}, limit_indices = ${i64s(end)}, strides = ${i64s(strides)}`,
    );
  }

  pad(x: Hlo, low: readonly number[], high: readonly number[], value: Hlo): Hlo {
    const shape = x.shape.map((size, axis) => size + (low[axis] ?? 0) + (high[axis] ?? 0));
    return this.call(
      'stablehlo.pad',
      [x, value],
      x.type,
      shape,
      `edge_padding_low = ${i64s(low)}, edge_padding_high = ${i64s(high)}, interior_padding = ` +
        `${i64s(low.map(() => 0))}`,
    );
  }

  concatenate(inputs: readonly Hlo[], axis: number): Hlo {
    const [first] = inputs as [Hlo, ...Hlo[]];
    if (inputs.length === 1) return first;
    const shape = first.shape.map((size, position) =>
      position === axis ? inputs.reduce((sum, input) => sum + (input.shape[axis] ?? 0), 0) : size,
    );
    return this.call('stablehlo.concatenate', inputs, first.type, shape, `dimension = ${axis} : i64`);
  }

  /** 0, 1, 2, … along one axis. */
  iota(shape: readonly number[], axis: number): Hlo {
    return this.call('stablehlo.iota', [], 'int32', shape, `iota_dimension = ${axis} : i64`);
  }

  /** A region of one operation on two scalars, as reductions and scatters take it. */
  combiner(name: string, type: StorageDtype): string {
    const number = this.count++;
    const scalar = tensorType(type, []);
    const direction = extremes[name];
    if (direction !== undefined && isFloat(type)) return this.extreme(direction, scalar, number);
    return (
      `{ ^bb0(%a${number}: ${scalar}, %b${number}: ${scalar}): %c${number} = "stablehlo.${name}"(%a${number}, ` +
      `%b${number}) : (${scalar}, ${scalar}) -> ${scalar} "stablehlo.return"(%c${number}) : (${scalar}) -> () }`
    );
  }

  /**
   * The larger or smaller of two numbers, or the one that is NaN: what `stablehlo.maximum` means, spelled so that XLA's
   * CPU compiler makes vectors of it (six times as fast).
   */
  private extreme(direction: string, scalar: string, number: number): string {
    const [a, b] = [`%a${number}`, `%b${number}`];
    const truth = tensorType('bool', []);
    const compare = (name: string, left: string, right: string, way: string): string =>
      `%${name}${number} = "stablehlo.compare"(${left}, ${right}) <{comparison_direction = ` +
      `#stablehlo<comparison_direction ${way}>}> : (${scalar}, ${scalar}) -> ${truth} `;
    return (
      `{ ^bb0(${a}: ${scalar}, ${b}: ${scalar}): ${compare('beyond', a, b, direction)}${compare('lost', a, a, 'NE')}` +
      `%take${number} = "stablehlo.or"(%beyond${number}, %lost${number}) : (${truth}, ${truth}) -> ${truth} ` +
      `%c${number} = "stablehlo.select"(%take${number}, ${a}, ${b}) : (${truth}, ${scalar}, ${scalar}) -> ` +
      `${scalar} "stablehlo.return"(%c${number}) : (${scalar}) -> () }`
    );
  }

  /** A fresh number for names within a region. */
  fresh(): number {
    return this.count++;
  }

  reduce(name: string, x: Hlo, axes: readonly number[], initial: number): Hlo {
    const shape = x.shape.filter((_, axis) => !axes.includes(axis));
    return this.call(
      'stablehlo.reduce',
      [x, this.splat(x.type, [], initial)],
      x.type,
      shape,
      `dimensions = ${i64s(axes)}`,
      this.combiner(name, x.type),
    );
  }

  /**
   * The sum of one tensor a device: each replica gives its own and gets the sum. Null where the tensors are not inputs,
   * one a replica.
   */
  allReduce(inputs: readonly Hlo[]): Hlo | null {
    const [first] = inputs;
    if (
      this.replicas === 1 ||
      first === undefined ||
      inputs.length !== this.replicas ||
      inputs.some(({ input }) => input === null)
    )
      return null;
    this.shards.set(
      first.input ?? 0,
      inputs.map(({ input }) => input ?? 0),
    );
    const groups =
      `dense<[[${Array.from({ length: this.replicas }, (_, replica) => replica).join(', ')}]]> : ` +
      `tensor<1x${this.replicas}xi64>`;
    return this.call(
      'stablehlo.all_reduce',
      [first],
      first.type,
      first.shape,
      `replica_groups = ${groups}`,
      this.combiner('add', first.type),
    );
  }

  /** The whole module. */
  finish(
    inputs: readonly Pick<TensorSpec, 'shape'>[],
    types: readonly StorageDtype[],
    outputs: readonly Hlo[],
    donations: ReadonlyMap<number, number> = new Map(),
  ): { readonly text: string; readonly arguments: readonly number[] } {
    const names = outputs.map((output) => this.use(output));
    const list = [...this.used].sort((a, b) => a - b);
    const signature = list.map((input) => {
      const target = donations.get(input);
      const alias = target === undefined ? '' : ` {tf.aliasing_output = ${target} : i32}`;
      return `%arg${input}: ${tensorType(types[input] ?? 'float32', inputs[input]?.shape ?? [])}${alias}`;
    });
    const results = outputs.map(({ type, shape }) => tensorType(type, shape)).join(', ');
    const text =
      `func.func @main(${signature.join(', ')}) -> (${results}) {\n${this.lines.join('\n')}\n` +
      `"func.return"(${names.join(', ')}) : (${results}) -> ()\n}\n`;
    return { text, arguments: list };
  }

  private spell(type: StorageDtype, shape: readonly number[], values: ArrayLike<number>): string {
    const numbers = Array.from(values, (value) => literal(type, value));
    const key = `${type}:${shape.join()}:${numbers.join()}`;
    const known = this.constants.get(key);
    if (known !== undefined) return known;
    const name = this.write(type, shape, numbers);
    this.constants.set(key, name);
    return name;
  }

  private write(type: StorageDtype, shape: readonly number[], numbers: readonly string[]): string {
    const [first = '0'] = numbers;
    const size = sizeOfShape(shape);
    const flat = [size];
    const uniform = numbers.every((number) => number === first);
    // Lists of truth values are packed differently from version to version: they are spelled as bytes and compared.
    const spelledType: StorageDtype = type === 'bool' && !uniform ? 'int32' : type;
    const spelled = uniform
      ? first
      : `[${(type === 'bool' ? numbers.map((number) => (number === 'true' ? '1' : '0')) : numbers).join(', ')}]`;
    const name = `%${this.count++}`;
    this.line(
      `${name} = "stablehlo.constant"() <{value = dense<${size === 0 ? '' : spelled}> : ` +
        `${tensorType(spelledType, uniform ? shape : flat)}}> : () -> ` +
        `${tensorType(spelledType, uniform ? shape : flat)}`,
    );
    if (uniform) return name;
    const made: Hlo = { type: spelledType, shape: flat, name, input: null, values: null };
    return this.use(this.reshape(this.convert(made, type), shape));
  }

  private line(text: string): void {
    this.lines.push(text);
    this.stepOfLine.push(this.step);
  }
}
