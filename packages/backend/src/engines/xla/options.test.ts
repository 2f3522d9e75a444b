import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { clientOptions, companionLibraries, xlaFlags } from './options.js';

describe('what a plugin is started with', () => {
  test("a GPU's memory is not taken at once; a CPU is one device", () => {
    expect(clientOptions('/packages/jax_plugins/xla_cuda13/xla_cuda_plugin.so')).toEqual({
      allocator: 'bfc',
      preallocate: false,
    });
    expect(clientOptions('/cache/xla_cpu_pjrt.so')).toEqual({ cpu_device_count: 1 });
    expect(clientOptions('/packages/libtpu/libtpu.so')).toEqual({});
  });

  test("CUDA's files are found beside the plugin, and what is set already stays", () => {
    const packages = mkdtempSync(join(tmpdir(), 'whetstone-packages-'));
    try {
      const plugin = join(packages, 'jax_plugins', 'xla_cuda12', 'xla_cuda_plugin.so');
      expect(xlaFlags(plugin, {})).toBeNull();
      const own = join(packages, 'toolkit');
      mkdirSync(own);
      expect(xlaFlags(plugin, { CUDA_ROOT: join(packages, 'gone'), CUDA_HOME: '', CUDA_PATH: own })).toBe(
        `--xla_gpu_cuda_data_dir=${own}`,
      );
      mkdirSync(join(packages, 'nvidia', 'cuda_nvcc'), { recursive: true });
      const flag = `--xla_gpu_cuda_data_dir=${join(packages, 'nvidia', 'cuda_nvcc')}`;
      expect(xlaFlags(plugin, { CUDA_HOME: own })).toBe(flag);
      expect(xlaFlags(plugin, { XLA_FLAGS: '--other=1' })).toBe(`--other=1 ${flag}`);
      expect(xlaFlags(plugin, { XLA_FLAGS: '--xla_gpu_cuda_data_dir=/mine' })).toBeNull();
      expect(xlaFlags(join(packages, 'xla_cpu_pjrt.so'), { CUDA_HOME: own })).toBeNull();
    } finally {
      rmSync(packages, { recursive: true });
    }
  });

  test("NVIDIA's libraries that are there are loaded first, in their order, those of the plugin's own CUDA", () => {
    const packages = mkdtempSync(join(tmpdir(), 'whetstone-packages-'));
    try {
      const place = (...path: string[]): string => {
        const file = join(packages, 'nvidia', ...path);
        mkdirSync(dirname(file), { recursive: true });
        writeFileSync(file, '');
        return file;
      };
      const plugin = (version: string): string =>
        join(packages, 'jax_plugins', `xla_cuda${version}`, 'xla_cuda_plugin.so');
      expect(companionLibraries(plugin('13'))).toEqual([]);
      const cudnn = place('cudnn', 'lib', 'libcudnn.so.9');
      const nvshmem = place('nvshmem', 'lib', 'libnvshmem_host.so.3');
      const [cublas13, runtime13] = [place('cu13', 'lib', 'libcublas.so.13'), place('cu13', 'lib', 'libcudart.so.13')];
      const compiler12 = place('cuda_nvrtc', 'lib', 'libnvrtc.so.12');
      place('cublas', 'lib', 'libcublas_static.a');
      expect(companionLibraries(plugin('13'))).toEqual([runtime13, cublas13, nvshmem, cudnn]);
      expect(companionLibraries(plugin('12'))).toEqual([compiler12, nvshmem, cudnn]);
      expect(companionLibraries(join(packages, 'jax_plugins', 'xla_rocm7', 'xla_rocm_plugin.so'))).toEqual([]);
    } finally {
      rmSync(packages, { recursive: true });
    }
  });
});
