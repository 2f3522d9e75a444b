import { getKernel, registerKernel, type KernelFunc, type TensorInfo } from '@tensorflow/tfjs-core';
import { sizeOfShape } from '@whetstone/core/util';
import { allReduce } from '../collectives/all-reduce-kernel.js';
import { sumOverDevices } from '../collectives/replicas.js';
import { cpuKernel } from '../fallback/cpu.js';
import { fusedKernels } from '../fused/kernels.js';
import type { WhetstoneBackend } from '../recorder/backend.js';
import { elementwise } from './elementwise.js';

import { hostKernels, share } from './host-kernels.js';
import { indexing } from './indexing.js';
import type { Kernel, KernelInputs } from './kernel.js';
import { matrix } from './matrix.js';
import { movement } from './movement.js';
import { randomKernels } from './random.js';
import { reductions } from './reductions.js';

/** Every recorded kernel. */
export const kernels: readonly Kernel[] = [
  ...elementwise,
  ...reductions,
  ...matrix,
  ...movement,
  ...indexing,
  ...randomKernels,
  ...fusedKernels,
  allReduce,
  sumOverDevices,
];

/** Handles casts that need no device: to the same dtype, and from and to complex64. */
function castOnHost(record: KernelFunc): KernelFunc {
  return (call) => {
    const { x } = call.inputs as { x: TensorInfo };
    const backend = call.backend as WhetstoneBackend;
    const { dtype } = call.attrs as { dtype: TensorInfo['dtype'] };
    if (x.dtype === dtype) return share(backend, x, x.shape);
    if (x.dtype === 'complex64') {
      const { real } = backend.complexParts(x);
      return record({ ...call, inputs: { x: { ...real, shape: x.shape } }, attrs: { dtype } });
    }
    if (dtype === 'complex64') {
      const real =
        x.dtype === 'float32'
          ? share(backend, x, x.shape)
          : (record({ ...call, attrs: { dtype: 'float32' } }) as TensorInfo);
      const imag = backend.makeTensorInfo(x.shape, 'float32', new Float32Array(sizeOfShape(x.shape)));
      return backend.makeComplex(x.shape, real, imag);
    }
    return record(call);
  };
}

/** Handles Fill with strings, which stay on the host. */
function fillOnHost(record: KernelFunc): KernelFunc {
  return (call) => {
    const { shape, value, dtype } = call.attrs as unknown as {
      shape: number[];
      value: number | string;
      dtype?: TensorInfo['dtype'];
    };
    if (dtype !== 'string' && typeof value !== 'string') return record(call);
    const values = Array.from({ length: sizeOfShape(shape) }, () => value) as unknown as string[] as never;
    return (call.backend as WhetstoneBackend).makeTensorInfo(shape, 'string', values);
  };
}

const isHostOnly = (info: TensorInfo | undefined): boolean => info?.dtype === 'string' || info?.dtype === 'complex64';

/** Runs a kernel with string or complex64 operands on the cpu backend: these dtypes are never on the device. */
function hostDtypesOnCpu(kernel: Kernel, record: KernelFunc): KernelFunc {
  return (call) => {
    for (const name in call.inputs) {
      const input = call.inputs[name] as TensorInfo | undefined;
      if (isHostOnly(input)) return (cpuKernel(kernel.name) ?? record)(call);
    }
    return record(call);
  };
}

/** Returns the function that tfjs-core calls for a kernel. */
function kernelFunction(kernel: Kernel): KernelFunc {
  const record: KernelFunc = ({ inputs, attrs, backend }) =>
    (backend as WhetstoneBackend).recordKernel(
      kernel,
      inputs as unknown as KernelInputs,
      (attrs ?? {}) as Record<string, unknown>,
    );
  if (kernel.name === 'Cast') return castOnHost(record);
  return hostDtypesOnCpu(kernel, kernel.name === 'Fill' ? fillOnHost(record) : record);
}

/** Registers every kernel for a backend's name. Kernels that are registered already stay. */
export function registerKernels(backendName: string): void {
  const register = (kernelName: string, kernelFunc: KernelFunc): void => {
    if (getKernel(kernelName, backendName) === undefined) registerKernel({ kernelName, backendName, kernelFunc });
  };
  for (const { name, kernel } of hostKernels) register(name, kernel);
  for (const kernel of kernels) register(kernel.name, kernelFunction(kernel));
}
