import type { NamedAttrMap, NamedTensorMap, Tensor } from '@tensorflow/tfjs-core';
import { isKernelRegistered, runKernel } from './registered-kernel.js';

/**
 * Runs a kernel that only some backends have, or returns null where the one in use has it not: then plain operations
 * do. Names and signatures are in the docstrings of the operations that ask for them.
 */
export function fusedKernel(name: string, inputs: NamedTensorMap, attributes: NamedAttrMap = {}): Tensor[] | null {
  return isKernelRegistered(name) ? runKernel(name, inputs, attributes) : null;
}
