import type { NamedAttrMap, NamedTensorMap, Tensor } from '@tensorflow/tfjs-core';
import { isKernelRegistered, runKernel } from './registered-kernel.js';

/**
 * Runs an optional kernel. Returns null if the current backend lacks it; the caller then uses plain operations. Names
 * and signatures are in the docstrings of the calling operations.
 */
export function fusedKernel(name: string, inputs: NamedTensorMap, attributes: NamedAttrMap = {}): Tensor[] | null {
  return isKernelRegistered(name) ? runKernel(name, inputs, attributes) : null;
}
