import { getKernel, registerKernel, type KernelFunc, type TensorInfo } from '@tensorflow/tfjs-core';
import { allReduce } from '../collectives/all-reduce-kernel.js';
import { fusedKernels } from '../fused/kernels.js';
import type { WhetstoneBackend } from '../recorder/backend.js';
import { elementwise } from './elementwise.js';
import { indexing } from './indexing.js';
import { hostKernel } from './host-fallback.js';
import type { Kernel, KernelInputs } from './kernel.js';
import { matrix } from './matrix.js';
import { movement } from './movement.js';
import { reductions } from './reductions.js';
import { share, sharing } from './sharing.js';
import { sumOverDevices } from '../replicas.js';

/** Every kernel with a record of its own. */
export const kernels: readonly Kernel[] = [
  ...elementwise,
  ...reductions,
  ...matrix,
  ...movement,
  ...indexing,
  ...fusedKernels,
  allReduce,
  sumOverDevices,
];

/** Kernels that need a glance at their operands first: the same dtype is shared, host-only dtypes stay on the host. */
function exceptions(kernel: Kernel, record: KernelFunc): KernelFunc {
  if (kernel.name === 'Cast') {
    return (call) => {
      const { x } = call.inputs as { x: TensorInfo };
      const backend = call.backend as WhetstoneBackend;
      const { dtype } = call.attrs as { dtype: TensorInfo['dtype'] };
      if (x.dtype === dtype) {
        return share(backend, x, x.shape);
      }
      if (x.dtype === 'complex64') {
        const { real } = backend.complexParts(x);
        return record({ ...call, inputs: { x: { ...real, shape: x.shape } }, attrs: { dtype } });
      }
      if (dtype === 'complex64') {
        const real =
          x.dtype === 'float32'
            ? share(backend, x, x.shape)
            : (record({ ...call, attrs: { dtype: 'float32' } }) as TensorInfo);
        return backend.makeComplex(
          x.shape,
          real,
          backend.makeTensorInfo(
            x.shape,
            'float32',
            new Float32Array(x.shape.reduce((size, length) => size * length, 1)),
          ),
        );
      }
      return record(call);
    };
  }
  if (kernel.name === 'Fill') {
    return (call) => {
      const { shape, value, dtype } = call.attrs as unknown as {
        shape: number[];
        value: number | string;
        dtype?: TensorInfo['dtype'];
      };
      if (dtype !== 'string' && typeof value !== 'string') return record(call);
      const size = shape.reduce((product, length) => product * length, 1);
      return (call.backend as WhetstoneBackend).makeTensorInfo(
        shape,
        'string',
        Array.from({ length: size }, () => value) as unknown as string[] as never,
      );
    };
  }
  return record;
}

const isHostOnly = (info: TensorInfo | undefined): boolean => info?.dtype === 'string' || info?.dtype === 'complex64';

/** Strings and complex numbers never are on the device: the cpu backend computes with them. */
function exceptHostTypes(kernel: Kernel, record: KernelFunc): KernelFunc {
  if (kernel.name === 'Cast') return record;
  return (call) => {
    for (const name in call.inputs) {
      const input = call.inputs[name] as TensorInfo | undefined;
      if (isHostOnly(input)) return (hostKernel(kernel.name) ?? record)(call);
    }
    return record(call);
  };
}

/** Registers every kernel record for a backend's name. Kernels that are registered already are left alone. */
export function registerKernels(backendName: string): void {
  for (const { name, kernel } of sharing)
    if (getKernel(name, backendName) === undefined)
      registerKernel({ kernelName: name, backendName, kernelFunc: kernel });
  for (const kernel of kernels) {
    if (getKernel(kernel.name, backendName) !== undefined) continue;
    const record: KernelFunc = ({ inputs, attrs, backend }) =>
      (backend as WhetstoneBackend).run(
        kernel,
        inputs as unknown as KernelInputs,
        (attrs ?? {}) as Record<string, unknown>,
      );
    registerKernel({
      kernelName: kernel.name,
      backendName,
      kernelFunc: exceptHostTypes(kernel, exceptions(kernel, record)),
    });
  }
}
