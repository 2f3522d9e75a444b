import {
  findBackend,
  getKernel,
  getKernelsForBackend,
  registerKernel,
  setBackend,
  tensor1d,
  type BackendValues,
  type KernelBackend,
  type KernelConfig,
  type KernelFunc,
  type TensorInfo,
} from '@tensorflow/tfjs-core';
import type { WhetstoneBackend } from '../recorder/backend.js';
import { withoutTfjsNodeNotice } from '../tfjs-patches/tfjs-node-notice.js';

/** Makes tfjs's cpu backend tfjs-core's current one. */
export async function useCpuBackend(): Promise<void> {
  await import('@tensorflow/tfjs-backend-cpu');
  await setBackend('cpu');
  withoutTfjsNodeNotice(() => tensor1d([0]).dispose());
}

/** Members of tfjs's cpu backend that these functions use. */
interface CpuBackend extends KernelBackend {
  makeTensorInfo(shape: number[], dtype: TensorInfo['dtype'], values?: BackendValues | string[]): TensorInfo;
}

type Infos = TensorInfo | TensorInfo[] | undefined;

const mapInfos = (infos: Infos, map: (info: TensorInfo) => TensorInfo): Infos =>
  Array.isArray(infos) ? infos.map(map) : infos === undefined || infos === null ? infos : map(infos);

/**
 * Runs a kernel of the cpu backend on copies of its operands, and returns copies of its results.
 *
 * @param toCpu copies an operand to the cpu backend
 * @param fromCpu copies a result from the cpu backend
 */
export function runOnCpu(
  kernel: KernelConfig,
  cpu: KernelBackend,
  { inputs, attrs }: Pick<Parameters<KernelFunc>[0], 'inputs' | 'attrs'>,
  toCpu: (info: TensorInfo) => TensorInfo,
  fromCpu: (info: TensorInfo) => TensorInfo,
): TensorInfo | TensorInfo[] {
  const onCpu: TensorInfo[] = [];
  const copy = (info: TensorInfo): TensorInfo => {
    const copied = toCpu(info);
    onCpu.push(copied);
    return copied;
  };
  const operands = Array.isArray(inputs)
    ? inputs.map(copy)
    : Object.fromEntries(Object.entries(inputs).map(([name, infos]) => [name, mapInfos(infos as Infos, copy)]));
  const results = kernel.kernelFunc({ inputs: operands as never, attrs: attrs ?? {}, backend: cpu });
  const list = Array.isArray(results) ? results : [results];
  const outputs = list.map(fromCpu);
  for (const { dataId } of [...onCpu, ...list]) if (cpu.refCount(dataId) > 0) cpu.disposeData(dataId);
  const [only] = outputs;
  return Array.isArray(results) || only === undefined ? outputs : only;
}

/** Returns the kernels of the cpu backend that another backend lacks. */
export function missingCpuKernels(backendName: string): KernelConfig[] {
  const own = new Set(getKernelsForBackend(backendName).map(({ kernelName }) => kernelName));
  return getKernelsForBackend('cpu').filter(({ kernelName }) => !own.has(kernelName));
}

/** The object in which the cpu backend stores the components of a complex64 tensor. */
interface ComplexHolder {
  complexTensorInfos?: { real: TensorInfo; imag: TensorInfo };
}

const complexHolder = (cpu: CpuBackend, info: TensorInfo): ComplexHolder =>
  (cpu as unknown as { data: { get(id: object): ComplexHolder } }).data.get(info.dataId);

function fromWhetstone(cpu: CpuBackend, backend: WhetstoneBackend, info: TensorInfo): TensorInfo {
  // Some kernels of the cpu backend expect tensors and read their rank.
  if (info.dtype !== 'complex64')
    return Object.assign(cpu.makeTensorInfo(info.shape, info.dtype, backend.readSync(info.dataId)), {
      rank: info.shape.length,
    });
  const { real, imag } = backend.complexParts(info);
  const components = {
    real: fromWhetstone(cpu, backend, { ...real, shape: info.shape }),
    imag: fromWhetstone(cpu, backend, { ...imag, shape: info.shape }),
  };
  const copy = cpu.makeTensorInfo(info.shape, 'complex64');
  complexHolder(cpu, copy).complexTensorInfos = components;
  return copy;
}

function toWhetstone(cpu: CpuBackend, backend: WhetstoneBackend, info: TensorInfo): TensorInfo {
  const components = info.dtype === 'complex64' ? complexHolder(cpu, info).complexTensorInfos : undefined;
  if (components !== undefined)
    return backend.makeComplex(
      info.shape,
      toWhetstone(cpu, backend, { ...components.real, shape: info.shape }),
      toWhetstone(cpu, backend, { ...components.imag, shape: info.shape }),
    );
  return backend.makeTensorInfo(info.shape, info.dtype, cpu.readSync(info.dataId));
}

/** Returns a kernel of the cpu backend as one of Whetstone's backend. */
const asWhetstoneKernel =
  (kernel: KernelConfig, cpu: CpuBackend): KernelFunc =>
  (call) => {
    const backend = call.backend as WhetstoneBackend;
    return runOnCpu(
      kernel,
      cpu,
      call,
      (info) => fromWhetstone(cpu, backend, info),
      (info) => toWhetstone(cpu, backend, info),
    );
  };

const warned = new Set<string>();

/** Warns once per kernel that it runs on the host. */
function warnOnce(name: string): void {
  if (warned.has(name)) return;
  warned.add(name);
  console.warn(
    `whetstone: ${name} has no device kernel and runs on the cpu backend; its operands are copied to the host.`,
  );
}

/** Registers the kernels of tfjs's cpu backend that a backend of Whetstone lacks, if that package is installed. */
export async function registerCpuKernels(backendName: string): Promise<void> {
  try {
    await import('@tensorflow/tfjs-backend-cpu');
  } catch {
    return;
  }
  const cpu = findBackend('cpu') as CpuBackend | null;
  if (cpu === null) return;
  withoutTfjsNodeNotice(() => cpu.disposeData(cpu.makeTensorInfo([1], 'float32', new Float32Array(1)).dataId));
  for (const kernel of missingCpuKernels(backendName)) {
    const run = asWhetstoneKernel(kernel, cpu);
    const kernelFunc: KernelFunc = (call) => {
      warnOnce(kernel.kernelName);
      return run(call);
    };
    registerKernel({ kernelName: kernel.kernelName, backendName, kernelFunc });
  }
}

/** Returns the cpu backend's kernel for operands on the host (string, complex64). Null if it is not installed. */
export function cpuKernel(name: string): KernelFunc | null {
  const kernel = getKernel(name, 'cpu');
  const cpu = findBackend('cpu') as CpuBackend | null;
  return kernel === undefined || cpu === null ? null : asWhetstoneKernel(kernel, cpu);
}
