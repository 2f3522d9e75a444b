import { type } from '../kernels/attributes.js';
import { vector, type Kernel } from '../kernels/kernel.js';

/**
 * Uniform numbers in [0, 1): attributes `shape` and `seed`, two 32-bit integers that are an input of the graph. The
 * bits are the same on both engines and on the host (`engines/xla/stablehlo/random.ts`, `core/ops/philox.ts`).
 */
export const randomUniform: Kernel = {
  name: 'WhetstoneRandomUniform',
  inputs: [],
  rule: (_, { shape, seed }) => ({
    outputs: [{ shape: shape as readonly number[], dtype: 'float32' }],
    host: [vector(shape as readonly number[]), vector(seed as readonly number[])],
  }),
  tensorflow: (emit, _, [shape, seed]) =>
    emit.op('StatelessRandomUniform', [shape!, seed!], { dtype: type('float32') }),
};
