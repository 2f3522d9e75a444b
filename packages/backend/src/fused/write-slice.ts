import { scalar, vector, type Kernel } from '../kernels/kernel.js';
import type { Spec } from '../recorder/types.js';

/**
 * A stretch of the third of four axes written over: `writeSlice` of `@whetstone/core/ops`. Where it begins is an input,
 * so that a cache that fills up compiles nothing.
 */
export const writeSlice: Kernel = {
  name: 'WhetstoneWriteSlice',
  inputs: ['whole', 'part'],
  list: true,
  replaces: [[0]],
  rule: ([whole, part], { at }) => {
    const { shape, dtype } = whole as Spec;
    const begin = at as number;
    return {
      outputs: [{ shape, dtype }],
      host: [
        scalar(begin, 'int32'),
        vector([0, 0, 0, 0]),
        vector([-1, -1, begin, -1]),
        vector([0, 0, begin + ((part as Spec).shape[2] ?? 0), 0]),
        vector([-1, -1, -1, -1]),
      ],
    };
  },
  tensorflow: (emit, [whole, part], [, origin, before, behind, rest]) =>
    emit.op('ConcatV2', [
      [emit.op('Slice', [whole!, origin!, before!]), part!, emit.op('Slice', [whole!, behind!, rest!])],
      emit.constant('int32', [], [2]),
    ]),
  stablehlo: (b, [whole, part], [at]) => {
    const zero = b.constant('int32', [], [0]);
    return b.call('stablehlo.dynamic_update_slice', [whole!, part!, zero, zero, at!, zero], whole!.type, whole!.shape);
  },
};
