import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ClientOptions } from './client.js';

/**
 * Options that a plugin's client is started with, told from the plugin's file name. A CPU plugin would make four devices; a GPU
 * plugin would take three quarters of the card's memory at once.
 */
export function clientOptions(plugin: string, devices = 1): ClientOptions {
  if (/cuda|rocm|gpu/i.test(plugin)) return { allocator: 'bfc', preallocate: false };
  if (/cpu/i.test(plugin)) return { cpu_device_count: devices };
  return {};
}

/** Folders in which NVIDIA's wheels keep what XLA's compiler for CUDA needs (libdevice, ptxas), beside `jax_plugins`. */
const cudaFolders = ['cuda_nvcc', 'cu13'];

/**
 * The `XLA_FLAGS` that a plugin should be loaded with: for CUDA, where its toolkit's files are, found beside the plugin in a Python's
 * packages. Null where nothing is to be set. Only flags that every such plugin knows: XLA ends the process at one that it does not.
 */
export function xlaFlags(plugin: string, present: string | undefined): string | null {
  if (!/cuda/i.test(plugin) || present?.includes('xla_gpu_cuda_data_dir') === true) return null;
  const packages = dirname(dirname(dirname(plugin)));
  const folder = cudaFolders.map((name) => join(packages, 'nvidia', name)).find((candidate) => existsSync(candidate));
  return folder === undefined ? null : `${present === undefined ? '' : `${present} `}--xla_gpu_cuda_data_dir=${folder}`;
}

/** XLA's CPU client asks the environment how many threads it may have, while it is being made. */
export function withThreads<R>(threads: number | undefined, make: () => R): R {
  if (threads === undefined) return make();
  const before = process.env['PJRT_NPROC'];
  process.env['PJRT_NPROC'] = String(Math.max(1, Math.trunc(threads)));
  try {
    return make();
  } finally {
    if (before === undefined) delete process.env['PJRT_NPROC'];
    else process.env['PJRT_NPROC'] = before;
  }
}
