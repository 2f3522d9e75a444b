import {
  engine,
  getKernelsForBackend,
  registerKernel,
  unregisterKernel,
  type DataId,
  type KernelBackend,
  type KernelConfig,
  type NamedTensorInfoMap,
  type Tensor,
  type TensorInfo,
} from '@tensorflow/tfjs-core';
import type { PackedTensor } from '../contract/storage.js';
import { unpackOnHost } from './unpack.js';

/** The CPU backends of tfjs-core. Their kernels and reads are wrapped so that they unpack. */
const backendNames: readonly string[] = ['cpu', 'wasm'];

/** Kernels that only change the shape, so that their data may stay packed. */
const shapeKernels: ReadonlySet<string> = new Set(['Reshape', 'ExpandDims']);

const packedData = new WeakMap<DataId, PackedTensor>();
const wrappedKernels = new Set<string>();
const wrappedBackends = new WeakSet<KernelBackend>();

type KernelInput = TensorInfo | readonly TensorInfo[] | undefined | null;

const isPacked = (info: KernelInput): boolean =>
  Array.isArray(info)
    ? info.some(isPacked)
    : info !== undefined && info !== null && packedData.has((info as TensorInfo).dataId);

/** Wraps a kernel so that it runs on unpacked copies of its operands, which are disposed afterwards. */
function withUnpackedInputs(config: KernelConfig): KernelConfig {
  return {
    ...config,
    kernelFunc: (call) => {
      const { inputs } = call;
      if (!Object.values(inputs).some(isPacked)) return config.kernelFunc(call);
      const backend = call.backend as KernelBackend;
      const copies: TensorInfo[] = [];
      const unpack = (info: KernelInput): KernelInput => {
        if (Array.isArray(info)) return info.map(unpack) as TensorInfo[];
        const packed = info === undefined || info === null ? undefined : packedData.get((info as TensorInfo).dataId);
        if (packed === undefined) return info;
        const { shape, dtype } = info as TensorInfo;
        const copy = { dataId: backend.write(unpackOnHost(packed), shape, dtype), shape, dtype };
        copies.push(copy);
        return copy;
      };
      const unpacked = Array.isArray(inputs)
        ? inputs.map(unpack)
        : Object.fromEntries(Object.entries(inputs).map(([name, info]) => [name, unpack(info as KernelInput)]));
      try {
        return config.kernelFunc({ ...call, inputs: unpacked as NamedTensorInfoMap });
      } finally {
        for (const { dataId } of copies) backend.disposeData(dataId);
      }
    },
  };
}

/** Wraps the kernel Identity so that clones share packed data, as the tape saves clones. (The wasm kernel copies.) */
function withSharedData(config: KernelConfig): KernelConfig {
  return {
    ...config,
    kernelFunc: (call) => {
      const { x } = call.inputs;
      if (!isPacked(x)) return config.kernelFunc(call);
      const { dataId, shape, dtype } = x as TensorInfo;
      (call.backend as KernelBackend).incRef(dataId);
      return { dataId, shape, dtype };
    },
  };
}

/** Wraps the kernels and reads of a backend so that they unpack packed tensors. */
function wrapBackend(name: string, backend: KernelBackend): void {
  for (const config of getKernelsForBackend(name)) {
    const key = `${name} ${config.kernelName}`;
    if (shapeKernels.has(config.kernelName) || wrappedKernels.has(key)) continue;
    wrappedKernels.add(key);
    unregisterKernel(config.kernelName, name);
    registerKernel(config.kernelName === 'Identity' ? withSharedData(config) : withUnpackedInputs(config));
  }
  if (wrappedBackends.has(backend)) return;
  wrappedBackends.add(backend);
  const readSync = backend.readSync.bind(backend);
  const read = backend.read.bind(backend);
  const numbers = (dataId: object): Float32Array | undefined => {
    const packed = packedData.get(dataId);
    return packed === undefined ? undefined : unpackOnHost(packed);
  };
  backend.readSync = (dataId) => numbers(dataId) ?? readSync(dataId);
  backend.read = async (dataId) => numbers(dataId) ?? (await read(dataId));
}

/**
 * Creates a float32 tensor whose data is stored packed, outside of the backend's memory. Each kernel that uses it
 * unpacks it while it computes, in the forward and again in the backward pass. Returns null if the backend is not a CPU
 * backend of tfjs-core.
 */
export function keepPacked(packed: PackedTensor): Tensor | null {
  const { backendName, backend } = engine();
  if (!backendNames.includes(backendName)) return null;
  wrapBackend(backendName, backend);
  const dataId = backend.write(new Float32Array(0), [0], 'float32');
  packedData.set(dataId, packed);
  return engine().makeTensorFromDataId(dataId, [...packed.shape], 'float32', backend);
}

/** Returns the packed data of a tensor of {@link keepPacked}; undefined for other tensors. */
export const packedOf = (dataId: DataId): PackedTensor | undefined => packedData.get(dataId);

/** Returns the size of a packed tensor in bytes. */
export function bytesOfPacked(packed: PackedTensor): number {
  if (packed.format === 'bfloat16') return packed.bits.byteLength;
  if (packed.format === 'int8') return packed.values.byteLength + packed.scales.byteLength;
  const { scales } = packed;
  return (
    packed.packed.byteLength +
    (scales.kind === 'single'
      ? scales.absmax.byteLength
      : scales.quantised.byteLength + scales.nestedAbsmax.byteLength + 4)
  );
}
