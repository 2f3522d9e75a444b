import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, sep } from 'node:path';
import {
  findBackend,
  getKernel,
  getKernelsForBackend,
  registerKernel,
  setBackend,
  unregisterKernel,
  type DataType,
  type KernelBackend,
  type KernelConfig,
  type TensorInfo,
} from '@tensorflow/tfjs-core';
import { useCpuBackend } from './cpu.js';

/** Makes tfjs's WebAssembly backend the current one. @returns kernels that it lacks and that run on cpu instead */
export async function useWasmBackend(): Promise<readonly string[]> {
  const wasm = await import('@tensorflow/tfjs-backend-wasm');
  const distribution = dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm'));
  if (existsSync(distribution)) wasm.setWasmPaths(distribution + sep);
  const lent = await lendCpuKernels();
  shareClones();
  if (!(await setBackend('wasm'))) throw new Error('tfjs could not start its WebAssembly backend');
  return lent;
}

let clonesShare = false;

/**
 * A clone shares its tensor's data, as on tfjs's other backends. This one copies: every weight for each product that
 * keeps it for the backward pass.
 */
function shareClones(): void {
  const own = getKernel('Identity', 'wasm');
  if (clonesShare || own === undefined) return;
  clonesShare = true;
  unregisterKernel('Identity', 'wasm');
  registerKernel({
    ...own,
    kernelFunc: (call) => {
      const { dataId, shape, dtype } = call.inputs['x'] as TensorInfo;
      if (dtype === 'string') return own.kernelFunc(call);
      (call.backend as KernelBackend).incRef(dataId);
      return { dataId, shape, dtype };
    },
  });
}

let lentKernels: readonly string[] | null = null;

/**
 * tfjs's WebAssembly backend lacks kernels that training needs (the gradient of an embedding is an UnsortedSegmentSum):
 * those that the cpu backend has are lent, at the price of a copy there and back.
 */
async function lendCpuKernels(): Promise<readonly string[]> {
  if (lentKernels !== null) return lentKernels;
  try {
    await useCpuBackend();
  } catch {
    return [];
  }
  const present = new Set(getKernelsForBackend('wasm').map((kernel) => kernel.kernelName));
  const missing = getKernelsForBackend('cpu').filter((kernel) => !present.has(kernel.kernelName));
  for (const kernel of missing) registerKernel(lend(kernel));
  lentKernels = missing.map((kernel) => kernel.kernelName);
  return lentKernels;
}

function lend(kernel: KernelConfig): KernelConfig {
  return {
    kernelName: kernel.kernelName,
    backendName: 'wasm',
    kernelFunc({ inputs, attrs, backend }) {
      const from = backend as KernelBackend;
      const cpu = findBackend('cpu') as KernelBackend;
      const lentInputs = Object.fromEntries(
        Object.entries(inputs).map(([name, value]) => [
          name,
          Array.isArray(value)
            ? value.map((one: TensorInfo) => move(one, from, cpu))
            : value === undefined || value === null
              ? value
              : move(value, from, cpu),
        ]),
      );
      const result = kernel.kernelFunc({ inputs: lentInputs as typeof inputs, attrs, backend: cpu });
      const outputs = Array.isArray(result) ? result.map((one) => move(one, cpu, from)) : move(result, cpu, from);
      for (const info of [...Object.values(lentInputs).flat(), ...[result].flat()])
        if (info !== undefined && info !== null) cpu.disposeData((info as TensorInfo).dataId);
      return outputs;
    },
  };
}

function move(info: TensorInfo, from: KernelBackend, to: KernelBackend): TensorInfo {
  const values = from.readSync(info.dataId);
  return { dataId: to.write(values, info.shape, info.dtype as DataType), shape: info.shape, dtype: info.dtype };
}
