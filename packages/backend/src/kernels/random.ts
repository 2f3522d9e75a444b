import { flag, type } from './emitter.js';
import { scalar, vector, type HostOperand, type Kernel } from './kernel.js';
import type { TensorSpec } from '../recorder/types.js';

/**
 * Uniform float32 numbers in [0, 1). Attributes are `shape` and `seed`, two 32-bit integers. The seed is an input of
 * the graph. The bits are the same on both engines and on the host (`engines/xla/stablehlo/random.ts`,
 * `core/ops/random.ts`).
 */
const randomUniform: Kernel = {
  name: 'WhetstoneRandomUniform',
  inputs: [],
  rule: (_, { shape, seed }) => ({
    outputs: [{ shape: shape as readonly number[], dtype: 'float32' }],
    host: [vector(shape as readonly number[]), vector(seed as readonly number[])],
  }),
  tensorflow: (emit, _, [shape, seed]) =>
    emit.op('StatelessRandomUniform', [shape!, seed!], { dtype: type('float32') }),
};

/** Returns a float64 seed as two int32 numbers: every seed of tfjs has its own stream. */
function seedOperand(seed: unknown): HostOperand {
  const words = new Int32Array(Float64Array.of(Number(seed) || 0).buffer);
  return { type: 'int32', shape: [2], values: words };
}

/**
 * Draws with replacement: the first class whose cumulative probability exceeds a uniform number of Philox. Both engines
 * return the same draws for the same seed, unless a draw depends on the last bit of a probability.
 */
const multinomial: Kernel = {
  name: 'Multinomial',
  inputs: ['logits'],
  // It contains a Softmax.
  eager: false,
  rule: ([logits], { numSamples, seed, normalized }) => {
    const [rows = 1, classes = 1] = (logits as TensorSpec).shape;
    return {
      outputs: [{ shape: [rows, numSamples as number], dtype: 'int32' }],
      parameters: [normalized === true],
      host: [vector([rows, numSamples as number]), seedOperand(seed), scalar(classes - 1, 'int32')],
    };
  },
  tensorflow: (emit, [logits], [drawn, seed, last], [normalized]) => {
    const running = emit.op('Cumsum', [
      normalized === true ? logits! : emit.op('Softmax', [logits!]),
      emit.constant('int32', [], [1]),
    ]);
    const total = emit.op('Max', [running, emit.constant('int32', [1], [1])], { keep_dims: flag(true) });
    const uniform = emit.op('StatelessRandomUniform', [drawn!, seed!], { dtype: type('float32') });
    return emit.op('Minimum', [
      emit.op('UpperBound', [running, emit.op('Mul', [uniform, total])], { out_type: type('int32') }),
      last!,
    ]);
  },
};

export const randomKernels: readonly Kernel[] = [randomUniform, multinomial];
