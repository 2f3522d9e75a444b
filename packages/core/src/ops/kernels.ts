import {
  engine,
  getBackend,
  getKernel,
  type NamedAttrMap,
  type NamedTensorMap,
  type Tensor,
} from '@tensorflow/tfjs-core';

/** Returns whether the current backend has a kernel of this name. */
export function isKernelRegistered(name: string): boolean {
  return getKernel(name, getBackend()) !== undefined;
}

/** Runs a registered kernel and returns its outputs as a list. */
export function runKernel(name: string, inputs: NamedTensorMap, attributes: NamedAttrMap = {}): Tensor[] {
  const outputs = engine().runKernel<Tensor | Tensor[]>(name, inputs, attributes);
  return Array.isArray(outputs) ? outputs : [outputs];
}

/**
 * Runs an optional kernel. Returns null if the current backend lacks it; the caller then uses plain operations. Names
 * and signatures are in the docstrings of the calling operations.
 */
export function fusedKernel(name: string, inputs: NamedTensorMap, attributes: NamedAttrMap = {}): Tensor[] | null {
  return isKernelRegistered(name) ? runKernel(name, inputs, attributes) : null;
}
