import { type } from './attributes.js';
import { cast } from './elementwise.js';
import type { Emitter } from './emitter.js';
import type { Kernel, Parameters } from './kernel.js';

const notCalled = (): never => {
  throw new Error('Packed values are unpacked by the recorder itself.');
};

/** Rows of a table by the numbers in a tensor of bytes. */
const lookUp = <T>(emit: Emitter<T>, table: T, bytes: T): T => emit.op('GatherV2', [table, cast(emit, bytes, 'int32'), emit.constant('int32', [], [0])]);

const turned = <T>(emit: Emitter<T>, x: T, transposed: boolean): T => (transposed ? emit.op('Transpose', [x, emit.constant('int32', [2], [1, 0])]) : x);

/**
 * Float32 numbers out of packed ones; `stored.ts` lays them out. Inputs: the parts, the tables, and with the last parameter `after` an operand of the
 * operation that uses the numbers. They are then made no sooner than that operand, and compilers cannot take two uses for one: nothing would
 * keep the unpacked numbers of all layers from lying in memory at once otherwise. The parameter before it is the type that they come in.
 */
export const unpack: Kernel = {
  name: 'WhetstoneUnpack',
  inputs: 'list',
  rule: notCalled,
  tensorflow: <T>(emit: Emitter<T>, inputs: readonly T[], host: readonly T[], parameters: Parameters): T => {
    const numbers = unpackFloat32(emit, inputs, host, parameters);
    return cast(emit, numbers, parameters.at(-2) as 'float32' | 'bfloat16');
  },
};

function unpackFloat32<T>(emit: Emitter<T>, inputs: readonly T[], host: readonly T[], parameters: Parameters): T {
  const waits = parameters.at(-1) === 'after';
  const [given, ...others] = waits ? inputs.slice(0, -1) : inputs;
  const main = waits ? emit.ops('IdentityN', [[given!, inputs.at(-1)!]], {}, 2)[0]! : given!;
  const [form, transposed] = parameters;
  if (form === 'bfloat16') return cast(emit, main, 'float32');
  if (form === 'int8') return turned(emit, emit.op('Mul', [cast(emit, main, 'float32'), others[0]!]), transposed === true);
  const [, , kind, cutsNumbers, cutsScales] = parameters;
  const [blocks, padded, count, shape, offset, paddedScales, scaleCount, scaleShape] = host;
  const begin = emit.constant('int32', [1], [0]);
  const pairs = others.at(kind === 'double' ? 2 : 1)!;
  const scaleOfBlock = (): T => {
    if (kind !== 'double') return others[0]!;
    const [quantised, nested, , code] = others;
    const each = emit.op('AddV2', [emit.op('Mul', [lookUp(emit, code!, quantised!), nested!]), offset!]);
    const cut = cutsScales === true ? emit.op('Slice', [emit.op('Reshape', [each, paddedScales!]), begin, scaleCount!]) : each;
    return emit.op('Reshape', [cut, scaleShape!]);
  };
  const numbers = emit.op('Mul', [emit.op('Reshape', [lookUp(emit, pairs, main), blocks!]), scaleOfBlock()]);
  const cut = cutsNumbers === true ? emit.op('Slice', [emit.op('Reshape', [numbers, padded!]), begin, count!]) : numbers;
  return turned(emit, emit.op('Reshape', [cut, shape!]), transposed === true);
}

/** Rounds float32 numbers to bfloat16. */
export const toBfloat16: Kernel = {
  name: 'WhetstoneToBfloat16',
  inputs: ['x'],
  rule: notCalled,
  tensorflow: (emit, [x]) => emit.op('Cast', [x!], { DstT: type('bfloat16') }),
};
