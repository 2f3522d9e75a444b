import { int } from '../kernels/attributes.js';
import { vector, type Emitter, type Kernel } from '../kernels/kernel.js';
import type { Spec } from '../recorder/types.js';
import { arithmetic } from './arithmetic.js';

/** The two halves of the last axis exchanged: seen as two rows and read from the last. */
function swapAll<T>(emit: Emitter<T>, x: T, halves: T, whole: T): T {
  return emit.op('Reshape', [emit.op('ReverseV2', [emit.op('Reshape', [x, halves]), emit.constant('int32', [1], [3])]), whole]);
}

/** The same for the first features only; the rest stays. */
function swapSome<T>(emit: Emitter<T>, x: T, sizes: T): T {
  const [first, second, rest] = emit.ops('SplitV', [x, sizes, emit.constant('int32', [], [3])], { num_split: int(3) }, 3) as [T, T, T];
  return emit.op('ConcatV2', [[second, first, rest], emit.constant('int32', [], [3])]);
}

/** Rotary position embedding or its gradient: `rotary` of `@whetstone/core/ops`, recorded as one operation. x is [rows, heads, length, headDim]. */
const rotary: Kernel = {
  name: 'WhetstoneRotary',
  inputs: ['x', 'cos', 'sin'],
  list: true,
  rule: ([x], { rotated, backwards }) => {
    const { shape } = x as Spec;
    const features = shape.at(-1) ?? 0;
    const turned = rotated as number;
    const all = turned === features;
    return {
      outputs: [{ shape, dtype: 'float32' }],
      parameters: [all, backwards === true],
      host: all ? [vector([...shape.slice(0, -1), 2, features / 2]), vector(shape)] : [vector([turned / 2, turned / 2, features - turned])],
    };
  },
  tensorflow: (emit, [x, cos, sin], host, [all, backwards]) => {
    const { add, subtract, multiply } = arithmetic(emit);
    const swapped = all === true ? swapAll(emit, x!, host[0]!, host[1]!) : swapSome(emit, x!, host[0]!);
    const straight = multiply(x!, cos!);
    const crossed = multiply(swapped, sin!);
    return backwards === true ? subtract(straight, crossed) : add(straight, crossed);
  },
};

export const rotaryKernels: readonly Kernel[] = [rotary];
