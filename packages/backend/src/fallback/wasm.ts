import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, sep } from 'node:path';
import { findBackend, registerKernel, setBackend, type KernelBackend, type TensorInfo } from '@tensorflow/tfjs-core';
import { shareWasmClones } from '../tfjs-patches/wasm-identity.js';
import { missingCpuKernels, runOnCpu, useCpuBackend } from './cpu.js';

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
  for (const kernel of missingCpuKernels('wasm'))
    registerKernel({
      kernelName: kernel.kernelName,
      backendName: 'wasm',
      kernelFunc(call) {
        const wasm = call.backend as KernelBackend;
        const cpu = findBackend('cpu') as KernelBackend;
        return runOnCpu(
          kernel,
          cpu,
          call,
          (info) => copy(info, wasm, cpu),
          (info) => copy(info, cpu, wasm),
        );
      },
    });
  hasCpuKernels = true;
}

function copy({ dataId, shape, dtype }: TensorInfo, from: KernelBackend, to: KernelBackend): TensorInfo {
  return { dataId: to.write(from.readSync(dataId), shape, dtype), shape, dtype };
}
