import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Options of a plugin's client: `{allocator: 'bfc', preallocate: false}` for a GPU. */
export type ClientOptions = Readonly<Record<string, string | number | boolean>>;

/**
 * Options that a plugin's client is started with, told from the plugin's file name. A CPU plugin would make four
 * devices; a GPU plugin would take three quarters of the card's memory at once.
 */
export function clientOptions(plugin: string, devices = 1): ClientOptions {
  if (/cuda|rocm|gpu/i.test(plugin)) return { allocator: 'bfc', preallocate: false };
  if (/cpu/i.test(plugin)) return { cpu_device_count: devices };
  return {};
}

/** The folder of Python's packages in which a plugin is: `jax_plugins/xla_cuda13/xla_cuda_plugin.so` beneath it. */
const packagesOf = (plugin: string): string => dirname(dirname(dirname(plugin)));

/**
 * Folders in which NVIDIA's wheels keep what XLA's compiler for CUDA needs (libdevice, ptxas), beside `jax_plugins`.
 */
const cudaFolders = ['cuda_nvcc', 'cu13'];

/** Variables that say where a machine's own CUDA toolkit is, as installers and build tools set them. */
const cudaVariables = ['CUDA_ROOT', 'CUDA_HOME', 'CUDA_PATH'];

/**
 * The `XLA_FLAGS` that a plugin should be loaded with: for CUDA, where its toolkit's files are, found beside the plugin
 * in a Python's packages, else where the environment says. Null where nothing is to be set. Only flags that every such
 * plugin knows: XLA ends the process at one that it does not.
 */
export function xlaFlags(plugin: string, environment: Readonly<Record<string, string | undefined>>): string | null {
  const present = environment['XLA_FLAGS'];
  if (!/cuda/i.test(plugin) || present?.includes('xla_gpu_cuda_data_dir') === true) return null;
  const own = cudaVariables.flatMap((name) => environment[name] ?? []);
  const folder = [...cudaFolders.map((name) => join(packagesOf(plugin), 'nvidia', name)), ...own].find(
    (candidate) => candidate !== '' && existsSync(candidate),
  );
  return folder === undefined ? null : `${present === undefined ? '' : `${present} `}--xla_gpu_cuda_data_dir=${folder}`;
}

/**
 * NVIDIA's libraries in the order in which they need one another, by the folder of `nvidia` beside `jax_plugins`; names
 * of both CUDA 12 and 13. The plugin finds most of them by itself; NVSHMEM it does not, nor cuDNN the runtime compiler,
 * where wheels of CUDA 12 say so wrongly. JAX loads the same ones first.
 */
const cudaLibraries: readonly (readonly [folders: readonly string[], files: readonly string[]])[] = [
  [
    ['cuda_runtime', 'cu13'],
    ['libcudart.so.12', 'libcudart.so.13'],
  ],
  [
    ['cuda_nvrtc', 'cu13'],
    ['libnvrtc.so.12', 'libnvrtc.so.13'],
  ],
  [
    ['cublas', 'cu13'],
    ['libcublasLt.so.12', 'libcublasLt.so.13', 'libcublas.so.12', 'libcublas.so.13'],
  ],
  [['nccl'], ['libnccl.so.2']],
  [
    ['cuda_cupti', 'cu13'],
    ['libcupti.so.12', 'libcupti.so.13'],
  ],
  [
    ['nvjitlink', 'cu13'],
    ['libnvJitLink.so.12', 'libnvJitLink.so.13'],
  ],
  [['cusparse', 'cu13'], ['libcusparse.so.12']],
  [
    ['cusolver', 'cu13'],
    ['libcusolver.so.11', 'libcusolver.so.12'],
  ],
  [
    ['cufft', 'cu13'],
    ['libcufft.so.11', 'libcufft.so.12'],
  ],
  [['nvshmem'], ['libnvshmem_host.so.3']],
  [['cudnn'], ['libcudnn.so.9']],
];

/**
 * Libraries beside a plugin for CUDA that are to be loaded before it, in order: those of its own version of CUDA, where
 * a Python's packages hold both.
 */
export function companionLibraries(plugin: string): readonly string[] {
  const version = /cuda(1[23])/i.exec(plugin)?.[1];
  if (!/cuda/i.test(plugin)) return [];
  const nvidia = join(packagesOf(plugin), 'nvidia');
  return cudaLibraries
    .flatMap(([folders, files]) =>
      folders
        .filter((folder) => version === undefined || folders.length === 1 || (folder === 'cu13') === (version === '13'))
        .flatMap((folder) => files.map((file) => join(nvidia, folder, 'lib', file))),
    )
    .filter((file) => existsSync(file));
}
