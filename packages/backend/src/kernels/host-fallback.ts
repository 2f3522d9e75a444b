import {
  findBackend,
  getKernel,
  getKernelsForBackend,
  registerKernel,
  type BackendValues,
  type KernelBackend,
  type KernelConfig,
  type KernelFunc,
  type TensorInfo,
} from '@tensorflow/tfjs-core';
import type { WhetstoneBackend } from '../recorder/backend.js';
import { withoutTfjsNodeNotice } from '../tfjs-patches/tfjs-node-notice.js';

/** Members of tfjs's cpu backend that the fallback uses. */
interface HostBackend extends KernelBackend {
  makeTensorInfo(shape: number[], dtype: TensorInfo['dtype'], values?: BackendValues | string[]): TensorInfo;
  disposeIntermediateTensorInfo(info: TensorInfo): void;
}

type Infos = TensorInfo | TensorInfo[] | undefined;

const warned = new Set<string>();

/** Warns once per kernel that it runs on the host. */
function warnOnce(name: string): void {
  if (warned.has(name)) return;
  warned.add(name);
  console.warn(
    `whetstone: ${name} has no device kernel and runs on the cpu backend; its operands are copied to the host.`,
  );
}

function toHost(host: HostBackend, backend: WhetstoneBackend, info: TensorInfo): TensorInfo {
  // Some kernels of the cpu backend expect tensors and read their rank.
  if (info.dtype !== 'complex64')
    return Object.assign(host.makeTensorInfo(info.shape, info.dtype, backend.readSync(info.dataId)), {
      rank: info.shape.length,
    });
  const { real, imag } = backend.complexParts(info);
  const parts = {
    real: toHost(host, backend, { ...real, shape: info.shape }),
    imag: toHost(host, backend, { ...imag, shape: info.shape }),
  };
  const copy = host.makeTensorInfo(info.shape, 'complex64');
  complexHolder(host, copy).complexTensorInfos = parts;
  return copy;
}

interface ComplexHolder {
  complexTensorInfos?: { real: TensorInfo; imag: TensorInfo };
}

const complexHolder = (host: HostBackend, info: TensorInfo): ComplexHolder =>
  (host as unknown as { data: { get(id: object): ComplexHolder } }).data.get(info.dataId);

function toDevice(host: HostBackend, backend: WhetstoneBackend, info: TensorInfo): TensorInfo {
  const parts = info.dtype === 'complex64' ? complexHolder(host, info).complexTensorInfos : undefined;
  if (parts !== undefined)
    return backend.makeComplex(
      info.shape,
      toDevice(host, backend, { ...parts.real, shape: info.shape }),
      toDevice(host, backend, { ...parts.imag, shape: info.shape }),
    );
  return backend.makeTensorInfo(info.shape, info.dtype, host.readSync(info.dataId));
}

const mapInfos = (infos: Infos, work: (info: TensorInfo) => TensorInfo): Infos =>
  Array.isArray(infos) ? infos.map(work) : infos === undefined || infos === null ? infos : work(infos);

/** Returns a function that runs a kernel of the cpu backend on copies of its operands. */
function onCpu(config: KernelConfig, host: HostBackend): KernelFunc {
  return ({ inputs, attrs, backend }) => {
    const device = backend as WhetstoneBackend;
    const copies: TensorInfo[] = [];
    const copy = (info: TensorInfo): TensorInfo => {
      const copied = toHost(host, device, info);
      copies.push(copied);
      return copied;
    };
    const operands = Array.isArray(inputs)
      ? inputs.map(copy)
      : Object.fromEntries(Object.entries(inputs).map(([name, info]) => [name, mapInfos(info as Infos, copy)]));
    const results = config.kernelFunc({ inputs: operands as never, attrs: attrs ?? {}, backend: host });
    const list = Array.isArray(results) ? results : [results];
    const outputs = list.map((info) => toDevice(host, device, info));
    for (const info of [...copies, ...list])
      if (host.refCount(info.dataId) > 0) host.disposeIntermediateTensorInfo(info);
    const [only] = outputs;
    return Array.isArray(results) || only === undefined ? outputs : only;
  };
}

/**
 * Registers every kernel of tfjs's cpu backend that a backend lacks, if that optional package is installed. Returns the
 * kernels' names.
 */
export async function registerHostFallback(backendName: string): Promise<readonly string[]> {
  try {
    await import('@tensorflow/tfjs-backend-cpu');
  } catch {
    return [];
  }
  const host = findBackend('cpu') as HostBackend | null;
  if (host === null) return [];
  withoutTfjsNodeNotice(() =>
    host.disposeIntermediateTensorInfo(host.makeTensorInfo([1], 'float32', new Float32Array(1))),
  );
  const own = new Set(getKernelsForBackend(backendName).map(({ kernelName }) => kernelName));
  const missing = getKernelsForBackend('cpu').filter(({ kernelName }) => !own.has(kernelName));
  for (const config of missing) {
    const run = onCpu(config, host);
    const kernelFunc: KernelFunc = (call) => {
      warnOnce(config.kernelName);
      return run(call);
    };
    registerKernel({ kernelName: config.kernelName, backendName, kernelFunc });
  }
  return missing.map(({ kernelName }) => kernelName);
}

/** Returns the cpu backend's kernel for operands on the host (string, complex64). Null if it is not installed. */
export function cpuKernel(name: string): KernelFunc | null {
  const config = getKernel(name, 'cpu');
  const host = findBackend('cpu') as HostBackend | null;
  return config === undefined || host === null ? null : onCpu(config, host);
}
