import type { Kernel } from '../kernels/kernel.js';
import type { Spec } from '../recorder/types.js';

/** The first operand, no sooner than the second is there: `after` of `@whetstone/core/ops`. */
export const after: Kernel = {
  name: 'WhetstoneAfter',
  inputs: ['x', 'after'],
  list: true,
  rule: ([x]) => ({ outputs: [x as Spec] }),
  tensorflow: (emit, [x, other]) => [emit.op('Identity', [x!], {}, [other!])],
};
