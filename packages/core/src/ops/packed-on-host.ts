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

/** tfjs-core's own backends for processors: their kernels and reads are taught to unpack. */
const backendNames: readonly string[] = ['cpu', 'wasm'];

/** These pass data on under another shape. */
const passing: ReadonlySet<string> = new Set(['Reshape', 'ExpandDims']);

const packedData = new WeakMap<DataId, PackedTensor>();
const taughtKernels = new Set<string>();
const taughtBackends = new WeakSet<KernelBackend>();

type Given = TensorInfo | readonly TensorInfo[] | undefined | null;

const isPacked = (info: Given): boolean =>
  Array.isArray(info)
    ? info.some(isPacked)
    : info !== undefined && info !== null && packedData.has((info as TensorInfo).dataId);

/** The kernel on unpacked copies of its operands, which are gone when it is done. */
function unpacking(config: KernelConfig): KernelConfig {
  return {
    ...config,
    kernelFunc: (call) => {
      const { inputs } = call;
      if (!Object.values(inputs).some(isPacked)) return config.kernelFunc(call);
      const backend = call.backend as KernelBackend;
      const copies: TensorInfo[] = [];
      const unpack = (info: Given): Given => {
        if (Array.isArray(info)) return info.map(unpack) as TensorInfo[];
        const packed = info === undefined || info === null ? undefined : packedData.get((info as TensorInfo).dataId);
        if (packed === undefined) return info;
        const { shape, dtype } = info as TensorInfo;
        const copy = { dataId: backend.write(unpackOnHost(packed), shape, dtype), shape, dtype };
        copies.push(copy);
        return copy;
      };
      const given = Array.isArray(inputs)
        ? inputs.map(unpack)
        : Object.fromEntries(Object.entries(inputs).map(([name, info]) => [name, unpack(info as Given)]));
      try {
        return config.kernelFunc({ ...call, inputs: given as NamedTensorInfoMap });
      } finally {
        for (const { dataId } of copies) backend.disposeData(dataId);
      }
    },
  };
}

/** A clone shares the data, as what the tape keeps for the backward pass is one. (The wasm backend's own copies it.) */
function sharing(config: KernelConfig): KernelConfig {
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

/** Lets the kernels and the reads of a backend unpack what is kept packed. */
function teach(name: string, backend: KernelBackend): void {
  for (const config of getKernelsForBackend(name)) {
    const key = `${name} ${config.kernelName}`;
    if (passing.has(config.kernelName) || taughtKernels.has(key)) continue;
    taughtKernels.add(key);
    unregisterKernel(config.kernelName, name);
    registerKernel(config.kernelName === 'Identity' ? sharing(config) : unpacking(config));
  }
  if (taughtBackends.has(backend)) return;
  taughtBackends.add(backend);
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
 * A float32 tensor that is kept as packed bytes outside of a stock backend's memory: each kernel that takes it unpacks
 * it for as long as it computes, in the forward and again in the backward pass. Null where the backend is none of
 * tfjs-core's own for processors.
 */
export function keepPacked(packed: PackedTensor): Tensor | null {
  const { backendName, backend } = engine();
  if (!backendNames.includes(backendName)) return null;
  teach(backendName, backend);
  const dataId = backend.write(new Float32Array(0), [0], 'float32');
  packedData.set(dataId, packed);
  return engine().makeTensorFromDataId(dataId, [...packed.shape], 'float32', backend);
}

/** How a tensor of {@link keepPacked} is kept; undefined for any other. */
export const packedOf = (dataId: DataId): PackedTensor | undefined => packedData.get(dataId);

/** Bytes that a packed tensor takes. */
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
