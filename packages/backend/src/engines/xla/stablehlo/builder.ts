import { WhetstoneError } from '@whetstone/core/contract';
import { sameShape, sizeOfShape } from '@whetstone/core/util';
import type { Emitter, Attributes } from '../../../kernels/emitter.js';
import { type StorageDtype, type TensorSpec } from '../../../recorder/types.js';

/** A tensor of a module under construction: a named result, or known values that get a name at their first use. */
export interface Hlo {
  readonly type: StorageDtype;
  readonly shape: readonly number[];
  /** Name in the module; null until the tensor is used. */
  name: string | null;
  /** Number among the module's inputs, or null. */
  readonly input: number | null;
  /** The values, if they are known during lowering; otherwise null. */
  readonly values: ArrayLike<number> | null;
}

/** Lowers one TensorFlow op to StableHLO. Lists of inputs come flattened. */
export type OpLowering = (
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

/** Returns the bits of a float32 number. */
const float32Bits = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0] ?? 0;

const hex = (bits: number, digits: number): string => `0x${bits.toString(16).padStart(digits, '0').toUpperCase()}`;

/** Returns an exact MLIR literal of a number. */
function literal(type: StorageDtype, value: number): string {
  if (type === 'bool') return value === 0 ? 'false' : 'true';
  if (type === 'float32') return hex(float32Bits(value), 8);
  if (type === 'bfloat16') return hex(float32Bits(value) >>> 16, 4);
  return String(Math.trunc(value));
}

/** Directions of comparison of the reductions to an extreme. */
const extremes: Readonly<Record<string, string>> = { maximum: 'GT', minimum: 'LT' };

export const i64s = (values: readonly number[]): string =>
  values.length === 0 ? 'array<i64>' : `array<i64: ${values.join(', ')}>`;

/** Writes the text of one StableHLO module, in MLIR's generic form, which is the most stable between versions. */
export class ModuleBuilder implements Emitter<Hlo> {
  private readonly lines: string[] = [];
  private readonly constants = new Map<string, string>();
  /** Inputs whose values are part of the module. */
  readonly fixed = new Set<number>();
  /** Inputs that are arguments of the module. */
  readonly used = new Set<number>();
  /** The program's step for each line. */
  readonly stepOfLine: number[] = [];
  step = 0;
  /** Estimate of the module's work: computed numbers, and multiplications of matrix products. */
  work = 0;
  private count = 0;

  /** Inputs that differ between replicas, by the input that is the module's argument. */
  readonly shards = new Map<number, readonly number[]>();

  constructor(
    private readonly lowerings: Readonly<Record<string, OpLowering>>,
    private readonly replicas = 1,
    /** Whether the module is for a CPU. Lowerings then choose operations that are fast there. */
    readonly onProcessor = false,
  ) {}

  // Methods for kernels.

  op(name: string, inputs: readonly (Hlo | readonly Hlo[])[], attributes: Attributes = {}): Hlo {
    const [first] = this.ops(name, inputs, attributes, 1);
    if (first === undefined) throw new WhetstoneError('INTERNAL', `The lowering of ${name} returned no result.`);
    return first;
  }

  ops(name: string, inputs: readonly (Hlo | readonly Hlo[])[], attributes: Attributes, results: number): Hlo[] {
    const lowering = this.lowerings[name];
    if (lowering === undefined)
      throw new WhetstoneError('BACKEND_FAILED', `The op ${name} has no lowering to StableHLO.`);
    const lowered = lowering(this, inputs.flat() as readonly Hlo[], attributes, results);
    return Array.isArray(lowered) ? [...(lowered as readonly Hlo[])] : [lowered as Hlo];
  }

  constant(type: StorageDtype, shape: readonly number[], values: readonly number[]): Hlo {
    return { type, shape, name: null, input: null, values };
  }

  typeOf(tensor: Hlo): StorageDtype {
    return tensor.type;
  }

  // Methods for lowerings.

  /**
   * Returns the values of a tensor and makes them part of the module: a shape, an axis, a slice's begin.
   *
   * @throws `BACKEND_FAILED` if the values are not known on the host
   */
  numbers(tensor: Hlo): number[] {
    if (tensor.values === null)
      throw new WhetstoneError(
        'BACKEND_FAILED',
        `XLA needs shapes that are known on the host, but a tensor of shape [${tensor.shape.join(', ')}] is computed.`,
      );
    if (tensor.input !== null) this.fixed.add(tensor.input);
    return Array.from(tensor.values);
  }

  /** Returns a tensor's name. Adds the argument or the constant at its first use. */
  use(tensor: Hlo): string {
    if (tensor.name !== null) return tensor.name;
    if (tensor.input !== null) {
      this.used.add(tensor.input);
      tensor.name = `%arg${tensor.input}`;
      return tensor.name;
    }
    tensor.name = this.constantName(tensor.type, tensor.shape, tensor.values ?? []);
    return tensor.name;
  }

  /** Returns a tensor filled with one number. */
  splat(type: StorageDtype, shape: readonly number[], value: number): Hlo {
    const scalar: Hlo = { type, shape: [], name: null, input: null, values: [value] };
    return shape.length === 0 ? scalar : this.broadcast(scalar, shape);
  }

  /** Adds an operation with one result. `attributes` is the text between `<{` and `}>`. */
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
    const resultTypes = results.map(({ type, shape }) => tensorType(type, shape));
    for (const { shape } of results) this.work += sizeOfShape(shape);
    const result = results.length === 1 ? base : `${base}:${results.length}`;
    const properties = attributes === '' ? '' : ` <{${attributes}}>`;
    const body = region === '' ? '' : ` (${region})`;
    const returned = resultTypes.length === 1 ? resultTypes[0] : `(${resultTypes.join(', ')})`;
    this.line(`${result} = "${name}"(${names.join(', ')})${properties}${body} : (${types}) -> ${returned}`);
    return results.map(({ type, shape }, index) => ({
      type,
      shape,
      name: results.length === 1 ? base : `${base}#${index}`,
      input: null,
      values: null,
    }));
  }

  /** Returns the tensor with another shape of the same size. */
  reshape(x: Hlo, shape: readonly number[]): Hlo {
    return sameShape(x.shape, shape) ? x : this.call('stablehlo.reshape', [x], x.type, shape);
  }

  /** Broadcasts along new leading axes and axes of length one, as NumPy does. */
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

  /** Broadcasts `x` to a larger shape, in which its axes become `axes`. */
  broadcastAlong(x: Hlo, shape: readonly number[], axes: readonly number[]): Hlo {
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

  /** Adds an operation such as `stablehlo.add`. Both operands have the same shape. */
  binary(name: string, a: Hlo, b: Hlo): Hlo {
    return this.call(`stablehlo.${name}`, [a, b], a.type, a.shape);
  }

  unary(name: string, x: Hlo): Hlo {
    return this.call(name.includes('.') ? name : `stablehlo.${name}`, [x], x.type, x.shape);
  }

  /**
   * Adds a unary function that XLA computes once for all its uses. XLA's compiler duplicates functions into each loop
   * that uses them, but not divisions. It does not know that this divisor is 1.
   */
  computeOnce(name: string, x: Hlo): Hlo {
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

  /** Returns 0, 1, 2, … along one axis, as int32. */
  iota(shape: readonly number[], axis: number): Hlo {
    return this.call('stablehlo.iota', [], 'int32', shape, `iota_dimension = ${axis} : i64`);
  }

  /** Returns a region with one operation on two scalars, for reductions and scatters. */
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
   * Returns a region for the larger or smaller of two numbers, or the NaN. It means the same as `stablehlo.maximum`,
   * but XLA's CPU compiler vectorizes it: it is six times as fast.
   */
  private extreme(direction: string, scalar: string, number: number): string {
    const [a, b] = [`%a${number}`, `%b${number}`];
    const truth = tensorType('bool', []);
    const compare = (name: string, left: string, right: string, comparison: string): string =>
      `%${name}${number} = "stablehlo.compare"(${left}, ${right}) <{comparison_direction = ` +
      `#stablehlo<comparison_direction ${comparison}>}> : (${scalar}, ${scalar}) -> ${truth} `;
    return (
      `{ ^bb0(${a}: ${scalar}, ${b}: ${scalar}): ${compare('beyond', a, b, direction)}${compare('lost', a, a, 'NE')}` +
      `%take${number} = "stablehlo.or"(%beyond${number}, %lost${number}) : (${truth}, ${truth}) -> ${truth} ` +
      `%c${number} = "stablehlo.select"(%take${number}, ${a}, ${b}) : (${truth}, ${scalar}, ${scalar}) -> ` +
      `${scalar} "stablehlo.return"(%c${number}) : (${scalar}) -> () }`
    );
  }

  /** Returns a new number for names within a region. */
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

  /** Returns the sum of one tensor per replica, or null if the tensors are not inputs, one per replica. */
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

  /**
   * Returns the module's text and its arguments: the inputs that it uses, in order.
   *
   * @param donations for each donated input, the position of the result that reuses its memory
   */
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

  private constantName(type: StorageDtype, shape: readonly number[], values: ArrayLike<number>): string {
    const literals = Array.from(values, (value) => literal(type, value));
    const key = `${type}:${shape.join()}:${literals.join()}`;
    const known = this.constants.get(key);
    if (known !== undefined) return known;
    const name = this.addConstant(type, shape, literals);
    this.constants.set(key, name);
    return name;
  }

  private addConstant(type: StorageDtype, shape: readonly number[], literals: readonly string[]): string {
    const [first = '0'] = literals;
    const size = sizeOfShape(shape);
    const flat = [size];
    const uniform = literals.every((item) => item === first);
    // The packing of boolean lists differs between versions, so they are written as int32 and converted.
    const writtenType: StorageDtype = type === 'bool' && !uniform ? 'int32' : type;
    const written = uniform
      ? first
      : `[${(type === 'bool' ? literals.map((item) => (item === 'true' ? '1' : '0')) : literals).join(', ')}]`;
    const name = `%${this.count++}`;
    this.line(
      `${name} = "stablehlo.constant"() <{value = dense<${size === 0 ? '' : written}> : ` +
        `${tensorType(writtenType, uniform ? shape : flat)}}> : () -> ` +
        `${tensorType(writtenType, uniform ? shape : flat)}`,
    );
    if (uniform) return name;
    const constant: Hlo = { type: writtenType, shape: flat, name, input: null, values: null };
    return this.use(this.reshape(this.convert(constant, type), shape));
  }

  private line(text: string): void {
    this.lines.push(text);
    this.stepOfLine.push(this.step);
  }
}
