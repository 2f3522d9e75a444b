import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, sep } from 'node:path';
import {
  findBackend,
  getKernelsForBackend,
  registerKernel,
  setBackend,
  type DataType,
  type KernelBackend,
  type KernelConfig,
  type TensorInfo,
} from '@tensorflow/tfjs-core';
import { shareWasmClones } from '../tfjs-patches/wasm-identity.js';
import { useCpuBackend } from './cpu.js';

/** Makes tfjs's WebAssembly backend tfjs-core's current one. */
export async function useWasmBackend(): Promise<void> {
  const wasm = await import('@tensorflow/tfjs-backend-wasm');
  const distribution = dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm'));
  if (existsSync(distribution)) wasm.setWasmPaths(distribution + sep);
  await addCpuKernels();
  shareWasmClones();
  if (!(await setBackend('wasm'))) throw new Error('tfjs-core could not start its WebAssembly backend');
}

let hasCpuKernels = false;

/**
 * Adds the kernels of the cpu backend that the WebAssembly backend lacks, if the cpu backend is installed. Training
 * needs some of them: the gradient of an embedding is an UnsortedSegmentSum. Their operands and results are copied.
 */
async function addCpuKernels(): Promise<void> {
  if (hasCpuKernels) return;
  try {
    await useCpuBackend();
  } catch {
    return;
  }
  const present = new Set(getKernelsForBackend('wasm').map((kernel) => kernel.kernelName));
  const missing = getKernelsForBackend('cpu').filter((kernel) => !present.has(kernel.kernelName));
  for (const kernel of missing) registerKernel(onCpu(kernel));
  hasCpuKernels = true;
}

/** Returns a WebAssembly kernel that runs the cpu backend's kernel on copies. */
function onCpu(kernel: KernelConfig): KernelConfig {
  return {
    kernelName: kernel.kernelName,
    backendName: 'wasm',
    kernelFunc({ inputs, attrs, backend }) {
      const from = backend as KernelBackend;
      const cpu = findBackend('cpu') as KernelBackend;
      const copies = Object.fromEntries(
        Object.entries(inputs).map(([name, value]) => [
          name,
          Array.isArray(value)
            ? value.map((info: TensorInfo) => copy(info, from, cpu))
            : value === undefined || value === null
              ? value
              : copy(value, from, cpu),
        ]),
      );
      const result = kernel.kernelFunc({ inputs: copies as typeof inputs, attrs, backend: cpu });
      const outputs = Array.isArray(result) ? result.map((info) => copy(info, cpu, from)) : copy(result, cpu, from);
      for (const info of [...Object.values(copies).flat(), ...[result].flat()])
        if (info !== undefined && info !== null) cpu.disposeData((info as TensorInfo).dataId);
      return outputs;
    },
  };
}

function copy(info: TensorInfo, from: KernelBackend, to: KernelBackend): TensorInfo {
  const values = from.readSync(info.dataId);
  return { dataId: to.write(values, info.shape, info.dtype as DataType), shape: info.shape, dtype: info.dtype };
}
