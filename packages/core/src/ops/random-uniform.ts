import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import { fusedKernel } from './fused-kernel.js';
import { philoxUniform } from './philox.js';
import { sizeOfShape } from '../util/index.js';

/**
 * Uniform numbers in [0, 1) of a shape, made where the backend computes: the same seed (two 32-bit integers) gives the
 * same bits on every backend (Philox 4×32-10, as TensorFlow's stateless generator uses it), and another seed compiles
 * nothing anew. Fused kernel: `WhetstoneRandomUniform {; shape, seed}` → [value].
 */
export function randomUniform(shape: readonly number[], seed: readonly [number, number]): Tensor {
  const fused = fusedKernel('WhetstoneRandomUniform', {}, { shape: [...shape], seed: [...seed] });
  if (fused?.[0] !== undefined) return fused[0];
  return tensor(philoxUniform(sizeOfShape(shape), seed), [...shape], 'float32');
}
