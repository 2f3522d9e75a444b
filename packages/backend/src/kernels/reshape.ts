import type { Kernel } from './kernel.js';

/**
 * Another shape of the same numbers, as the recorder needs it beneath tfjs's own Reshape (which only shares the data).
 */
export const reshape: Kernel = {
  name: 'Reshape',
  inputs: ['x'],
  rule: () => {
    throw new Error('Reshape is recorded by the recorder itself.');
  },
  tensorflow: (emit, [x], [shape]) => emit.op('Reshape', [x!, shape!]),
};
