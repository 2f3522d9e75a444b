import type { Kernel } from '../kernels/kernel.js';
import type { Spec } from '../recorder/types.js';

/**
 * Rows added to those of a table at some indices, each as often as it is named: `addGradients` of
 * `@whetstone/core/ops`.
 */
export const addRows: Kernel = {
  name: 'WhetstoneAddRows',
  inputs: ['x', 'indices', 'rows'],
  list: true,
  replaces: [[0]],
  rule: ([x]) => ({ outputs: [x as Spec] }),
  // Not TensorScatterAdd, which copies the table even where nobody else holds it.
  tensorflow: (emit, [x, indices, rows]) => [emit.op('ScatterNdNonAliasingAdd', [x!, indices!, rows!])],
};
