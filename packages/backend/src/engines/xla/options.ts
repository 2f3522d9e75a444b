import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Options of a plugin's client, such as `{allocator: 'bfc', preallocate: false}`. */
export type ClientOptions = Readonly<Record<string, string | number | boolean>>;

/**
 * Returns the default options of a plugin's client, by the plugin's file name. Without them, a CPU plugin creates four
 * devices, and a GPU plugin allocates three quarters of the device memory.
 */
export function clientOptions(plugin: string, devices = 1): ClientOptions {
  if (/cuda|rocm|gpu/i.test(plugin)) return { allocator: 'bfc', preallocate: false };
  if (/cpu/i.test(plugin)) return { cpu_device_count: devices };
  return {};
}

/** Returns the folder of Python packages that contains a plugin such as `jax_plugins/xla_cuda13/xla_cuda_plugin.so`. */
const packagesOf = (plugin: string): string => dirname(dirname(dirname(plugin)));

/** Folders of NVIDIA's wheels with the files that XLA's compiler for CUDA needs (libdevice, ptxas). */
const cudaFolders = ['cuda_nvcc', 'cu13'];

/** Environment variables with the folder of a CUDA toolkit, as installers and build tools set them. */
const cudaVariables = ['CUDA_ROOT', 'CUDA_HOME', 'CUDA_PATH'];

/**
 * Returns the `XLA_FLAGS` to load a plugin with, or null to leave them unchanged. For CUDA they name the folder of the
 * toolkit: from the Python packages next to the plugin, otherwise from the environment. XLA ends the process at an
 * unknown flag, so only flags of all such plugins are used.
 */
export function xlaFlags(plugin: string, environment: Readonly<Record<string, string | undefined>>): string | null {
  const present = environment['XLA_FLAGS'];
  if (!/cuda/i.test(plugin) || present?.includes('xla_gpu_cuda_data_dir') === true) return null;
  const toolkits = cudaVariables.flatMap((name) => environment[name] ?? []);
  const folder = [...cudaFolders.map((name) => join(packagesOf(plugin), 'nvidia', name)), ...toolkits].find(
    (candidate) => candidate !== '' && existsSync(candidate),
  );
  return folder === undefined ? null : `${present === undefined ? '' : `${present} `}--xla_gpu_cuda_data_dir=${folder}`;
}

/**
 * NVIDIA's libraries for CUDA 12 and 13 in order of their dependencies, by their folders in `nvidia`. The plugin does
 * not find NVSHMEM, and with wheels of CUDA 12, cuDNN does not find the runtime compiler. JAX loads the same libraries
 * first.
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
 * Returns the libraries in the Python packages next to a CUDA plugin that must be loaded before it, in order. If the
 * packages contain both versions of CUDA, only the plugin's version is used.
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
