import { expect, test } from 'vitest';
import { acceleratorFiles } from './accelerator-files.js';
import { acceleratorKinds, acceleratorSet, pluginPath, wheelOf } from './accelerators.js';
import { xlaPluginSet } from './index.js';

test('each accelerator lists distinct wheels for its platform, with checksums', () => {
  for (const kind of acceleratorKinds) {
    for (const [platform, files] of Object.entries(acceleratorFiles[kind])) {
      const { name, version, wheels } = acceleratorSet(kind, platform);
      expect(name).toBe(`xla-${kind}`);
      expect(new Set(wheels.map((wheel) => wheel.name)).size).toBe(files.length);
      expect(wheels[0]).toMatchObject({ name: `jax-${kind}-pjrt`, version });
      for (const wheel of wheels) {
        expect(wheel.sha256).toMatch(/^[0-9a-f]{64}$/);
        expect(wheel.bytes).toBeGreaterThan(1_000_000);
        expect(wheel.target?.platform).toMatch(
          platform === 'linux-x64' ? /^manylinux\w*_x86_64$/ : /^manylinux\w*_aarch64$/,
        );
      }
    }
  }
});

test('a wheel is described by its file name', () => {
  const wheel = wheelOf(
    'nvidia_cuda_nvcc_cu12-12.9.86-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl',
    1,
    'x',
  );
  expect(wheel).toMatchObject({
    name: 'nvidia-cuda-nvcc-cu12',
    version: '12.9.86',
    target: { pythonVersion: '3.12', platform: 'manylinux_2_12_x86_64' },
  });
});

// Paths in the published wheels.
const needed = [
  'jax_plugins/xla_cuda12/xla_cuda_plugin.so',
  'jax_plugins/xla_cuda13/xla_cuda_plugin.so',
  'jax_plugins/xla_rocm7/xla_rocm_plugin.so',
  'nvidia/cublas/lib/libcublasLt.so.12',
  'nvidia/cu13/lib/libcublas.so.13',
  'nvidia/cudnn/lib/libcudnn.so.9',
  'nvidia/nccl/lib/libnccl.so.2',
  'nvidia/nvshmem/lib/libnvshmem_host.so.3',
  'nvidia/cu13/lib/libnvvm.so.4',
  'nvidia/cuda_nvcc/bin/ptxas',
  'nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc',
  'nvidia/cuda_nvcc/nvvm/lib64/libnvvm.so',
  'nvidia/cu13/bin/ptxas',
  'nvidia/cu13/nvvm/libdevice/libdevice.10.bc',
];
const unneeded = [
  'jax_plugins/xla_cuda12/__init__.py',
  'nvidia/nvshmem/lib/libnvshmem_device.a',
  'nvidia/nvshmem/lib/libnvshmem_device_sm_90.bc',
  'nvidia/cublas/include/cublas.h',
  'nvidia/cu13/bin/nvcc',
  'nvidia_cublas_cu12-12.9.3.13.dist-info/METADATA',
  'nvidia/nvshmem/share/skills/nvshmem-docs/SKILL.md',
  '../jax_plugins/xla_cuda12/x.so',
];

test("libraries and the compiler's tools are unpacked, and no other files", () => {
  const { keep } = wheelOf('a-1-py3-none-any.whl', 1, 'x');
  for (const path of needed) expect(keep.test(path), path).toBe(true);
  for (const path of unneeded) expect(keep.test(path), path).toBe(false);
});

test("a plugin's path is two folders below site-packages, where it finds ../../nvidia", () => {
  expect(pluginPath('cuda12')).toEqual(['jax_plugins', 'xla_cuda12', 'xla_cuda_plugin.so']);
  expect(needed).toContain(pluginPath('cuda13').join('/'));
  expect(needed).toContain(pluginPath('rocm7').join('/'));
});

test('the error for a platform without a plugin lists the platforms that have one', () => {
  expect(() => acceleratorSet('rocm7', 'linux-arm64')).toThrow(
    expect.objectContaining({ code: 'DOWNLOAD_FAILED', expected: 'linux-x64' }) as Error,
  );
  expect(() => xlaPluginSet('xla-cpu', 'darwin-arm64')).toThrow(
    expect.objectContaining({ code: 'DOWNLOAD_FAILED' }) as Error,
  );
});
