import { WhetstoneError } from '@whetstone/core/contract';
import { flag } from '../kernels/attributes.js';
import type { Kernel } from '../kernels/kernel.js';
import type { Spec } from '../recorder/types.js';
import { arithmetic } from './arithmetic.js';

/**
 * Tensors bounded by the norm of all together, and that norm: `clipByGlobalNorm` of `@whetstone/core/ops`. Each is read
 * once for its sum of squares, and once for its result.
 */
export const clipByGlobalNorm: Kernel = {
  name: 'WhetstoneClipByGlobalNorm',
  inputs: 'list',
  list: true,
  rule: ([, ...tensors], { epsilon }) => ({
    outputs: [
      { shape: [], dtype: 'float32' as const },
      ...tensors.map(({ shape }): Spec => ({ shape, dtype: 'float32' })),
    ],
    parameters: [epsilon as number],
  }),
  tensorflow: (emit, [limit, ...tensors], _, [epsilon]) => {
    const { number, add, multiply } = arithmetic(emit);
    // Half of each sum of squares. In a chain: AddN may begin with any of its terms.
    const halves = tensors.map((tensor) => emit.op('L2Loss', [tensor]));
    const [first, ...rest] = halves;
    if (first === undefined || limit === undefined)
      throw new WhetstoneError('BACKEND_FAILED', 'There is nothing to clip.');
    const norm = emit.op('Sqrt', [
      multiply(
        rest.reduce((sum, half) => add(sum, half), first),
        number(2),
      ),
    ]);
    const factor = emit.op('Minimum', [number(1), emit.op('RealDiv', [limit, add(norm, number(epsilon as number))])]);
    return [norm, ...tensors.map((tensor) => multiply(tensor, factor))];
  },
};

/**
 * The sum of all elements of all tensors: `finiteProbe` of `@whetstone/core/ops`. In a chain: AddN may begin with any
 * of its terms.
 */
export const sumOfAll: Kernel = {
  name: 'WhetstoneSumOfAll',
  inputs: 'list',
  list: true,
  rule: (tensors) => ({
    outputs: [{ shape: [], dtype: 'float32' as const }],
    parameters: tensors.map(({ shape }) => shape.length),
  }),
  tensorflow: (emit, tensors, _, ranks) => {
    const sums = tensors.map((tensor, index) => {
      const rank = ranks[index] as number;
      return emit.op(
        'Sum',
        [
          tensor,
          emit.constant(
            'int32',
            [rank],
            Array.from({ length: rank }, (__, axis) => axis),
          ),
        ],
        { keep_dims: flag(false) },
      );
    });
    return [sums.reduce((all, one) => arithmetic(emit).add(all, one))];
  },
};
