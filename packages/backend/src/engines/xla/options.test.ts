import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { clientOptions, companionLibraries, xlaFlags } from './options.js';

describe('the options of a plugin', () => {
  test("do not preallocate a GPU's memory, and make a CPU one device", () => {
    expect(clientOptions('/packages/jax_plugins/xla_cuda13/xla_cuda_plugin.so')).toEqual({
      allocator: 'bfc',
      preallocate: false,
    });
    expect(clientOptions('/cache/xla_cpu_pjrt.so')).toEqual({ cpu_device_count: 1 });
    expect(clientOptions('/packages/libtpu/libtpu.so')).toEqual({});
  });

  test("name CUDA's files next to the plugin, and keep flags that are set", () => {
    const packages = mkdtempSync(join(tmpdir(), 'whetstone-packages-'));
    try {
      const plugin = join(packages, 'jax_plugins', 'xla_cuda12', 'xla_cuda_plugin.so');
      expect(xlaFlags(plugin, {})).toBeNull();
      const toolkit = join(packages, 'toolkit');
      mkdirSync(toolkit);
      expect(xlaFlags(plugin, { CUDA_ROOT: join(packages, 'absent'), CUDA_HOME: '', CUDA_PATH: toolkit })).toBe(
        `--xla_gpu_cuda_data_dir=${toolkit}`,
      );
      mkdirSync(join(packages, 'nvidia', 'cuda_nvcc'), { recursive: true });
      const flag = `--xla_gpu_cuda_data_dir=${join(packages, 'nvidia', 'cuda_nvcc')}`;
      expect(xlaFlags(plugin, { CUDA_HOME: toolkit })).toBe(flag);
      expect(xlaFlags(plugin, { XLA_FLAGS: '--other=1' })).toBe(`--other=1 ${flag}`);
      expect(xlaFlags(plugin, { XLA_FLAGS: '--xla_gpu_cuda_data_dir=/mine' })).toBeNull();
      expect(xlaFlags(join(packages, 'xla_cpu_pjrt.so'), { CUDA_HOME: toolkit })).toBeNull();
    } finally {
      rmSync(packages, { recursive: true });
    }
  });

  test("list the installed NVIDIA libraries of the plugin's version of CUDA, in order", () => {
    const packages = mkdtempSync(join(tmpdir(), 'whetstone-packages-'));
    try {
      const createFile = (...path: string[]): string => {
        const file = join(packages, 'nvidia', ...path);
        mkdirSync(dirname(file), { recursive: true });
        writeFileSync(file, '');
        return file;
      };
      const plugin = (version: string): string =>
        join(packages, 'jax_plugins', `xla_cuda${version}`, 'xla_cuda_plugin.so');
      expect(companionLibraries(plugin('13'))).toEqual([]);
      const cudnn = createFile('cudnn', 'lib', 'libcudnn.so.9');
      const nvshmem = createFile('nvshmem', 'lib', 'libnvshmem_host.so.3');
      const [cublas13, runtime13] = [
        createFile('cu13', 'lib', 'libcublas.so.13'),
        createFile('cu13', 'lib', 'libcudart.so.13'),
      ];
      const compiler12 = createFile('cuda_nvrtc', 'lib', 'libnvrtc.so.12');
      createFile('cublas', 'lib', 'libcublas_static.a');
      expect(companionLibraries(plugin('13'))).toEqual([runtime13, cublas13, nvshmem, cudnn]);
      expect(companionLibraries(plugin('12'))).toEqual([compiler12, nvshmem, cudnn]);
      expect(companionLibraries(join(packages, 'jax_plugins', 'xla_rocm7', 'xla_rocm_plugin.so'))).toEqual([]);
    } finally {
      rmSync(packages, { recursive: true });
    }
  });
});
