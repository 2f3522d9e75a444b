import { cast } from './elementwise.js';
import { type Emitter, type LoopBody, int, type } from './emitter.js';
import type { Kernel, Parameters } from './kernel.js';

const recordedDirectly = (): never => {
  throw new Error('The recorder records this kernel without a rule.');
};

/** Returns the rows of a table that a tensor of bytes selects. */
const lookUp = <T>(emit: Emitter<T>, table: T, bytes: T): T =>
  emit.op('GatherV2', [table, cast(emit, bytes, 'int32'), emit.constant('int32', [], [0])]);

const transposeIf = <T>(emit: Emitter<T>, x: T, transposed: boolean): T =>
  transposed ? emit.op('Transpose', [x, emit.constant('int32', [2], [1, 0])]) : x;

/** Multiplies 8-bit numbers by the scale of their row. */
const scaled: LoopBody = (emit, [numbers, scales]) => emit.op('Mul', [cast(emit, numbers!, 'float32'), scales!]);

/** Reshapes [n, m] to [n, m, 1]. */
const withInnerAxis = <T>(emit: Emitter<T>, x: T): T => emit.op('Pack', [[x]], { axis: int(2) });

/** Bits of a byte's second number. Those of its first are shifted by four. */
const BITS = [1, 2, 4, 8];

/**
 * Multiplies both numbers of each byte by the scale of their block. Codes are selected bit by bit, which a CPU does for
 * many bytes at once. It looks up one byte at a time.
 */
const scaledPairs: LoopBody = <T>(emit: Emitter<T>, [bytes, scales, pairs]: readonly T[]): T => {
  const int32 = (...values: readonly number[]): T => emit.constant('int32', [values.length], values);
  const spread = withInnerAxis(emit, cast(emit, bytes!, 'int32'));
  const isSet = BITS.map((bit) =>
    emit.op('NotEqual', [
      emit.op('BitwiseAnd', [spread, emit.constant('int32', [1, 1, 2], [bit << 4, bit])]),
      emit.constant('int32', [], [0]),
    ]),
  );
  // Row `nibble` of the table, second column: the code of that nibble.
  const numberOf = (nibble: number): T =>
    emit.op('Reshape', [emit.op('Slice', [pairs!, int32(nibble, 1), int32(1, 1)]), emit.constant('int32', [0], [])]);
  const select = (nibble: number, bit: number): T =>
    bit < 0
      ? numberOf(nibble)
      : emit.op('SelectV2', [isSet[bit]!, select(nibble + (1 << bit), bit - 1), select(nibble, bit - 1)]);
  return emit.op('Mul', [select(0, BITS.length - 1), withInnerAxis(emit, scales!)]);
};

/**
 * Unpacks weights that `recorder/packed-tensors.ts` lays out. Inputs are the components and the tables. The last
 * parameter is `after` if one more input follows, an operand of the operation that uses the numbers: unpacking then
 * waits for it, and compilers cannot merge two uses. Otherwise the unpacked weights of all layers would be in memory at
 * the same time. The parameter before it is the result's dtype.
 */
export const unpackWeights: Kernel = {
  name: 'WhetstoneUnpack',
  inputs: 'list',
  rule: recordedDirectly,
  tensorflow: <T>(emit: Emitter<T>, inputs: readonly T[], host: readonly T[], parameters: Parameters): T => {
    const waits = parameters.at(-1) === 'after';
    const dtype = parameters.at(-2) as 'float32' | 'bfloat16';
    const [packed, ...others] = waits ? inputs.slice(0, -1) : inputs;
    const main = waits ? emit.ops('IdentityN', [[packed!, inputs.at(-1)!]], {}, 2)[0]! : packed!;
    const [form, transposed] = parameters;
    if (form === 'bfloat16') return cast(emit, main, dtype);
    if (form === 'int8')
      return transposeIf(emit, computeInLoop(emit, 'int8', [main, others[0]!], dtype, scaled), transposed === true);
    return transposeIf(emit, unpackFourBit(emit, main, others, host, parameters, dtype), transposed === true);
  },
};

/** Computes and casts in one loop, if the engine compiles loops. */
function computeInLoop<T>(
  emit: Emitter<T>,
  name: string,
  inputs: readonly T[],
  dtype: 'float32' | 'bfloat16',
  compute: LoopBody,
): T {
  const body: LoopBody = (emitter, operands) => cast(emitter, compute(emitter, operands), dtype);
  return emit.loop?.(`${name}_to_${dtype}`, inputs, body) ?? body(emit, inputs);
}

/** Unpacks 4-bit numbers to the shape in which the packed matrix is stored. */
function unpackFourBit<T>(
  emit: Emitter<T>,
  main: T,
  others: readonly T[],
  host: readonly T[],
  [, , kind, isPadded, hasPaddedScales]: Parameters,
  dtype: 'float32' | 'bfloat16',
): T {
  const [blocksOfBytes, blocks, padded, count, shape, offset, paddedScales, scaleCount, scaleShape] = host;
  const begin = emit.constant('int32', [1], [0]);
  const blockScales = (): T => {
    if (kind !== 'double') return others[0]!;
    const [quantised, nested, , code] = others;
    const each = emit.op('AddV2', [emit.op('Mul', [lookUp(emit, code!, quantised!), nested!]), offset!]);
    const complete =
      hasPaddedScales === true
        ? emit.op('Slice', [emit.op('Reshape', [each, paddedScales!]), begin, scaleCount!])
        : each;
    return emit.op('Reshape', [complete, scaleShape!]);
  };
  const scales = blockScales();
  const pairs = others.at(kind === 'double' ? 2 : 1)!;
  const numbers =
    emit.loop === undefined
      ? cast(emit, emit.op('Mul', [emit.op('Reshape', [lookUp(emit, pairs, main), blocks!]), scales]), dtype)
      : computeInLoop(
          emit,
          'four_bit',
          [emit.op('Reshape', [main, blocksOfBytes!]), scales, pairs],
          dtype,
          scaledPairs,
        );
  const complete =
    isPadded === true ? emit.op('Slice', [emit.op('Reshape', [numbers, padded!]), begin, count!]) : numbers;
  return emit.op('Reshape', [complete, shape!]);
}

/** Rounds float32 to bfloat16. */
export const toBfloat16: Kernel = {
  name: 'WhetstoneToBfloat16',
  inputs: ['x'],
  rule: recordedDirectly,
  tensorflow: (emit, [x]) => emit.op('Cast', [x!], { DstT: type('bfloat16') }),
};
