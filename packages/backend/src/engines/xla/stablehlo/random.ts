import { philox, scrambleKey } from '@whetstone/core/ops/internal';
import { sizeOfShape } from '@whetstone/core/util';
import { tensorType, type Hlo, type ModuleBuilder, type OpLowering } from './builder.js';

/** The text of a region. Its names are unique in the module. */
class Region {
  private readonly lines: string[] = [];

  constructor(
    private readonly b: ModuleBuilder,
    private readonly type: string,
  ) {}

  constant(value: number): string {
    return this.add('constant', [], ` <{value = dense<${value | 0}> : ${this.type}}>`);
  }

  add(name: string, operands: readonly string[], attributes = ''): string {
    const result = `%r${this.b.fresh()}`;
    this.lines.push(
      `${result} = "stablehlo.${name}"(${operands.join(', ')})${attributes} : ` +
        `(${operands.map(() => this.type).join(', ')}) -> ${this.type}`,
    );
    return result;
  }

  fold(name: string, operands: readonly [string, ...string[]]): string {
    return operands.reduce((x, y) => this.add(name, [x, y]));
  }

  /** Returns the upper 32 bits of a product, computed from 16-bit halves. */
  upperProduct(word: string, multiplier: number): string {
    const [shift, mask] = [this.constant(16), this.constant(0xffff)];
    const high = (of: string): string => this.add('shift_right_logical', [of, shift]);
    const low = (of: string): string => this.add('and', [of, mask]);
    const [multiplierLow, multiplierHigh] = [this.constant(multiplier & 0xffff), this.constant(multiplier >>> 16)];
    const product = (half: string, by: string): string => this.add('multiply', [half, by]);
    const [first, second] = [product(high(word), multiplierLow), product(low(word), multiplierHigh)];
    const middle = this.fold('add', [high(product(low(word), multiplierLow)), low(first), low(second)]);
    return this.fold('add', [product(high(word), multiplierHigh), high(first), high(second), high(middle)]);
  }

  toString(): string {
    return this.lines.join(' ');
  }
}

/**
 * Adds Philox 4×32 on arrays, with one counter per element, in wrapping 32-bit integers. The rounds are a loop:
 * unrolled for each dropout of a model, they would take XLA minutes to compile.
 */
function blocks(b: ModuleBuilder, counter: readonly [Hlo, Hlo, Hlo, Hlo], key: readonly [Hlo, Hlo]): readonly Hlo[] {
  const { shape } = counter[0];
  const arrays = tensorType('int32', shape);
  const scalar = tensorType('int32', []);
  const state = (): { readonly names: readonly string[]; readonly head: string } => {
    const names = Array.from({ length: 7 }, () => `%s${b.fresh()}`);
    return {
      names,
      head: `^bb0(${names.map((name, index) => `${name}: ${index === 0 ? scalar : arrays}`).join(', ')}):`,
    };
  };
  const condition = state();
  const test = new Region(b, scalar);
  const last = test.constant(philox.rounds);
  const continues = `%r${b.fresh()}`;
  const conditionText =
    `{ ${condition.head} ${String(test)} ${continues} = "stablehlo.compare"(${condition.names[0]}, ${last}) ` +
    `<{comparison_direction = #stablehlo<comparison_direction LT>}> : (${scalar}, ${scalar}) -> tensor<i1> ` +
    `"stablehlo.return"(${continues}) : (tensor<i1>) -> () }`;

  const body = state();
  const [round = '', word0 = '', word1 = '', word2 = '', word3 = '', key0 = '', key1 = ''] = body.names;
  const counting = new Region(b, scalar);
  const next = counting.add('add', [round, counting.constant(1)]);
  const work = new Region(b, arrays);
  const [multiplier0, multiplier1] = philox.multipliers;
  const nextState = [
    work.fold('xor', [work.upperProduct(word2, multiplier1), word1, key0]),
    work.add('multiply', [word2, work.constant(multiplier1)]),
    work.fold('xor', [work.upperProduct(word0, multiplier0), word3, key1]),
    work.add('multiply', [word0, work.constant(multiplier0)]),
    work.add('add', [key0, work.constant(philox.weyl[0])]),
    work.add('add', [key1, work.constant(philox.weyl[1])]),
  ];
  const types = [scalar, ...nextState.map(() => arrays)].join(', ');
  const bodyText =
    `{ ${body.head} ${String(counting)} ${String(work)} "stablehlo.return"(${[next, ...nextState].join(', ')}) : ` +
    `(${types}) -> () }`;
  const results = [{ type: 'int32' as const, shape: [] }, ...nextState.map(() => ({ type: 'int32' as const, shape }))];
  return b
    .calls(
      'stablehlo.while',
      [b.splat('int32', [], 0), ...counter, ...key],
      results,
      '',
      `${conditionText}, ${bodyText}`,
    )
    .slice(1, 5);
}

/**
 * Lowers uniform numbers in [0, 1) with 23 bits from a seed of two 32-bit integers. They have the bits of TensorFlow's
 * op; those of XLA's generators differ.
 */
const uniform: OpLowering = (b, [shapeTensor, seed]) => {
  const shape = b.numbers(shapeTensor!);
  const size = sizeOfShape(shape);
  const groups = Math.ceil(size / 4);
  const word = (index: number): Hlo => b.reshape(b.slice(seed!, [index], [index + 1]), []);
  // TensorFlow extends the seed to two signed 64-bit numbers. Their upper halves are the sign.
  const sign = (of: Hlo): Hlo => b.binary('shift_right_arithmetic', of, b.splat('int32', [], 31));
  const scalar = (value: number): Hlo => b.splat('int32', [], value | 0);
  const [key0, key1, counter2, counter3] = blocks(
    b,
    [word(0), sign(word(0)), word(1), sign(word(1))],
    [scalar(scrambleKey[0]), scalar(scrambleKey[1])],
  );
  const all = (of: Hlo | undefined): Hlo => b.broadcast(of as Hlo, [groups]);
  const output = blocks(
    b,
    [b.iota([groups], 0), b.splat('int32', [groups], 0), all(counter2), all(counter3)],
    [all(key0), all(key1)],
  );
  const words = b.reshape(
    b.concatenate(
      output.map((one) => b.reshape(one, [groups, 1])),
      1,
    ),
    [4 * groups],
  );
  const used = b.slice(words, [0], [size]);
  const mantissa = b.binary('and', used, b.splat('int32', [size], 0x7fffff));
  const bits = b.binary('or', mantissa, b.splat('int32', [size], 0x3f800000));
  const between1And2 = b.call('stablehlo.bitcast_convert', [bits], 'float32', [size]);
  return b.reshape(b.binary('subtract', between1And2, b.splat('float32', [size], 1)), shape);
};

export const randomLowerings: Readonly<Record<string, OpLowering>> = { StatelessRandomUniform: uniform };
