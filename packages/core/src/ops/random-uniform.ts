import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import { fusedKernel } from './fused-kernel.js';
import { philoxUniform } from './philox.js';
import { sizeOfShape } from '../util/index.js';

/**
 * Returns uniform numbers in [0, 1), generated on the device. The same seed (two 32-bit integers) gives the same bits
 * on every backend (Philox 4×32-10, as in TensorFlow's stateless generator). A different seed does not recompile the
 * graph. Fused kernel: `WhetstoneRandomUniform {; shape, seed}` → [value].
 */
export function randomUniform(shape: readonly number[], seed: readonly [number, number]): Tensor {
  const fused = fusedKernel('WhetstoneRandomUniform', {}, { shape: [...shape], seed: [...seed] });
  if (fused?.[0] !== undefined) return fused[0];
  return tensor(philoxUniform(sizeOfShape(shape), seed), [...shape], 'float32');
}
