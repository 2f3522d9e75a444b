import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { clientOptions, xlaFlags } from './options.js';

describe('what a plugin is started with', () => {
  test('a GPU\'s memory is not taken at once; a CPU is one device', () => {
    expect(clientOptions('/packages/jax_plugins/xla_cuda13/xla_cuda_plugin.so')).toEqual({ allocator: 'bfc', preallocate: false });
    expect(clientOptions('/cache/xla_cpu_pjrt.so')).toEqual({ cpu_device_count: 1 });
    expect(clientOptions('/packages/libtpu/libtpu.so')).toEqual({});
  });

  test('CUDA\'s files are found beside the plugin, and what is set already stays', () => {
    const packages = mkdtempSync(join(tmpdir(), 'whetstone-packages-'));
    try {
      const plugin = join(packages, 'jax_plugins', 'xla_cuda12', 'xla_cuda_plugin.so');
      expect(xlaFlags(plugin, undefined)).toBeNull();
      mkdirSync(join(packages, 'nvidia', 'cuda_nvcc'), { recursive: true });
      const flag = `--xla_gpu_cuda_data_dir=${join(packages, 'nvidia', 'cuda_nvcc')}`;
      expect(xlaFlags(plugin, undefined)).toBe(flag);
      expect(xlaFlags(plugin, '--other=1')).toBe(`--other=1 ${flag}`);
      expect(xlaFlags(plugin, '--xla_gpu_cuda_data_dir=/mine')).toBeNull();
      expect(xlaFlags(join(packages, 'xla_cpu_pjrt.so'), undefined)).toBeNull();
    } finally {
      rmSync(packages, { recursive: true });
    }
  });
});
