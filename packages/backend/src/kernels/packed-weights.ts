import { cast } from './elementwise.js';
import { type Emitter, type LoopBody, int, type } from './emitter.js';
import type { Kernel, Parameters } from './kernel.js';

const notCalled = (): never => {
  throw new Error('Packed values are unpacked by the recorder itself.');
};

/** Rows of a table by the numbers in a tensor of bytes. */
const lookUp = <T>(emit: Emitter<T>, table: T, bytes: T): T =>
  emit.op('GatherV2', [table, cast(emit, bytes, 'int32'), emit.constant('int32', [], [0])]);

const turned = <T>(emit: Emitter<T>, x: T, transposed: boolean): T =>
  transposed ? emit.op('Transpose', [x, emit.constant('int32', [2], [1, 0])]) : x;

/** Numbers of 8 bits times the scale of their row. */
const scaled: LoopBody = (emit, [numbers, scales]) => emit.op('Mul', [cast(emit, numbers!, 'float32'), scales!]);

/** [n, m] as [n, m, 1]. */
const withInnerAxis = <T>(emit: Emitter<T>, x: T): T => emit.op('Pack', [[x]], { axis: int(2) });

/** Bits of a byte's second number; those of its first are these shifted by four. */
const BITS = [1, 2, 4, 8];

/**
 * Both numbers of each byte times the scale of their block. They are chosen bit by bit, which a processor does for many
 * at once; looking up it does for one.
 */
const scaledPairs: LoopBody = <T>(emit: Emitter<T>, [bytes, scales, pairs]: readonly T[]): T => {
  const whole = (...values: readonly number[]): T => emit.constant('int32', [values.length], values);
  const spread = withInnerAxis(emit, cast(emit, bytes!, 'int32'));
  const isSet = BITS.map((bit) =>
    emit.op('NotEqual', [
      emit.op('BitwiseAnd', [spread, emit.constant('int32', [1, 1, 2], [bit << 4, bit])]),
      emit.constant('int32', [], [0]),
    ]),
  );
  // The second of the pair of a byte below 16.
  const numberOf = (nibble: number): T =>
    emit.op('Reshape', [emit.op('Slice', [pairs!, whole(nibble, 1), whole(1, 1)]), emit.constant('int32', [0], [])]);
  const chosen = (nibble: number, bit: number): T =>
    bit < 0
      ? numberOf(nibble)
      : emit.op('SelectV2', [isSet[bit]!, chosen(nibble + (1 << bit), bit - 1), chosen(nibble, bit - 1)]);
  return emit.op('Mul', [chosen(0, BITS.length - 1), withInnerAxis(emit, scales!)]);
};

/**
 * Numbers out of packed ones; `packed-tensors.ts` lays them out. Inputs: the parts, the tables, and with the last
 * parameter `after` an operand of the operation that uses the numbers. They are then made no sooner than that operand,
 * and compilers cannot take two uses for one: nothing would keep the unpacked numbers of all layers from lying in
 * memory at once otherwise. The parameter before it is the type that they come in. Where loops are compiled, all of it
 * but the scales is one.
 */
export const unpackWeights: Kernel = {
  name: 'WhetstoneUnpack',
  inputs: 'list',
  rule: notCalled,
  tensorflow: <T>(emit: Emitter<T>, inputs: readonly T[], host: readonly T[], parameters: Parameters): T => {
    const waits = parameters.at(-1) === 'after';
    const wanted = parameters.at(-2) as 'float32' | 'bfloat16';
    const [given, ...others] = waits ? inputs.slice(0, -1) : inputs;
    const main = waits ? emit.ops('IdentityN', [[given!, inputs.at(-1)!]], {}, 2)[0]! : given!;
    const [form, transposed] = parameters;
    if (form === 'bfloat16') return cast(emit, main, wanted);
    if (form === 'int8')
      return turned(emit, inOneLoop(emit, 'int8', [main, others[0]!], wanted, scaled), transposed === true);
    return turned(emit, unpackFourBit(emit, main, others, host, parameters, wanted), transposed === true);
  },
};

/** What `compute` makes, in a certain type: in one loop where loops are compiled. */
function inOneLoop<T>(
  emit: Emitter<T>,
  name: string,
  inputs: readonly T[],
  wanted: 'float32' | 'bfloat16',
  compute: LoopBody,
): T {
  const body: LoopBody = (emitter, operands) => cast(emitter, compute(emitter, operands), wanted);
  return emit.loop?.(`${name}_to_${wanted}`, inputs, body) ?? body(emit, inputs);
}

/** As the packed matrix lies, in its shape. */
function unpackFourBit<T>(
  emit: Emitter<T>,
  main: T,
  others: readonly T[],
  host: readonly T[],
  [, , kind, cutsNumbers, cutsScales]: Parameters,
  wanted: 'float32' | 'bfloat16',
): T {
  const [blocksOfBytes, blocks, padded, count, shape, offset, paddedScales, scaleCount, scaleShape] = host;
  const begin = emit.constant('int32', [1], [0]);
  const scaleOfBlock = (): T => {
    if (kind !== 'double') return others[0]!;
    const [quantised, nested, , code] = others;
    const each = emit.op('AddV2', [emit.op('Mul', [lookUp(emit, code!, quantised!), nested!]), offset!]);
    const cut =
      cutsScales === true ? emit.op('Slice', [emit.op('Reshape', [each, paddedScales!]), begin, scaleCount!]) : each;
    return emit.op('Reshape', [cut, scaleShape!]);
  };
  const scales = scaleOfBlock();
  const pairs = others.at(kind === 'double' ? 2 : 1)!;
  const numbers =
    emit.loop === undefined
      ? cast(emit, emit.op('Mul', [emit.op('Reshape', [lookUp(emit, pairs, main), blocks!]), scales]), wanted)
      : inOneLoop(emit, 'four_bit', [emit.op('Reshape', [main, blocksOfBytes!]), scales, pairs], wanted, scaledPairs);
  const cut =
    cutsNumbers === true ? emit.op('Slice', [emit.op('Reshape', [numbers, padded!]), begin, count!]) : numbers;
  return emit.op('Reshape', [cut, shape!]);
}

/** Rounds float32 numbers to bfloat16. */
export const toBfloat16: Kernel = {
  name: 'WhetstoneToBfloat16',
  inputs: ['x'],
  rule: notCalled,
  tensorflow: (emit, [x]) => emit.op('Cast', [x!], { DstT: type('bfloat16') }),
};
