import { util, type KernelFunc, type TensorInfo } from '@tensorflow/tfjs-core';
import { sizeOfShape } from '@whetstone/core/util';
import type { WhetstoneBackend } from '../recorder/backend.js';

type Attributes = Readonly<Record<string, unknown>>;
type Implementation = (
  backend: WhetstoneBackend,
  inputs: Readonly<Record<string, TensorInfo>>,
  attributes: Attributes,
) => TensorInfo | TensorInfo[];

/**
 * Returns the same data under another shape and counts a reference. The record is always new: tfjs-core does not count
 * a tensor that a kernel returns unchanged.
 */
export function share(backend: WhetstoneBackend, x: TensorInfo, shape: number[]): TensorInfo {
  backend.incRef(x.dataId);
  return { dataId: x.dataId, shape, dtype: x.dtype };
}

function range(
  backend: WhetstoneBackend,
  start: number,
  stop: number,
  step: number,
  dtype: 'float32' | 'int32',
): TensorInfo {
  const count =
    start === stop || (start < stop && step < 0) || (stop < start && step > 1)
      ? 0
      : Math.abs(Math.ceil((stop - start) / (start > stop && step === 1 ? -1 : step)));
  const direction = start > stop && step === 1 ? -1 : step;
  const values = util.makeZerosTypedArray(count, dtype);
  let value = start;
  for (let index = 0; index < count; index++) {
    values[index] = value;
    value = (values[index] ?? 0) + direction;
  }
  return backend.makeTensorInfo([count], dtype, values);
}

/** Kernels that compute nothing on the device: they share data, or the host knows the values. */
const implementations: Readonly<Record<string, Implementation>> = {
  Identity: (backend, { x }) => share(backend, x!, x!.shape),
  Reshape: (backend, { x }, { shape }) => {
    const target = util.inferFromImplicitShape(shape as number[], sizeOfShape(x!.shape));
    util.assert(
      sizeOfShape(x!.shape) === sizeOfShape(target),
      () =>
        `The new shape (${target.join()}) has ${sizeOfShape(target)} elements and the old shape ` +
        `(${x!.shape.join()}) has ${sizeOfShape(x!.shape)} elements. The new shape and old shape must have the same ` +
        'number of elements.',
    );
    return share(backend, x!, target);
  },
  ExpandDims: (backend, { input }, { dim }) => {
    const axis = (dim as number) < 0 ? (dim as number) + input!.shape.length + 1 : (dim as number);
    util.assert(
      -(input!.shape.length + 1) <= (dim as number) && axis <= input!.shape.length,
      () => `Axis must be in the interval [${-(input!.shape.length + 1)}, ${input!.shape.length}]`,
    );
    return share(backend, input!, [...input!.shape.slice(0, axis), 1, ...input!.shape.slice(axis)]);
  },
  WhetstoneStoreBfloat16: (backend, { x }) => backend.storeBfloat16(x!),
  Range: (backend, _, { start, stop, step, dtype }) =>
    range(backend, start as number, stop as number, step as number, dtype as 'int32'),
  LinSpace: (backend, _, { start, stop, num }) => {
    const count = num as number;
    const step = ((stop as number) - (start as number)) / Math.max(1, count - 1);
    const values = Float32Array.from({ length: count }, (__, index) => (start as number) + index * step);
    return backend.makeTensorInfo([count], 'float32', values);
  },
  Complex: (backend, { real, imag }) =>
    backend.makeComplex(real!.shape, share(backend, real!, real!.shape), share(backend, imag!, imag!.shape)),
  Real: (backend, { input }) => share(backend, backend.complexParts(input!).real, input!.shape),
  Imag: (backend, { input }) => share(backend, backend.complexParts(input!).imag, input!.shape),
};

/** These kernels as tfjs-core registers them. */
export const hostKernels: readonly { readonly name: string; readonly kernel: KernelFunc }[] = Object.entries(
  implementations,
).map(([name, implementation]) => ({
  name,
  kernel: ({ inputs, attrs, backend }) =>
    implementation(backend as WhetstoneBackend, inputs as Record<string, TensorInfo>, (attrs ?? {}) as Attributes),
}));
