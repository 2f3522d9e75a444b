import { expect, test } from 'vitest';
import { describeGpus, presentGpus, type GpuSources } from './gpus.js';
import { isSoftwareDevice } from './software-devices.js';

/** A machine with these accelerators, commands and files. */
const machine = (
  titles: readonly string[] | null,
  commands: Readonly<Record<string, string>>,
  files: Readonly<Record<string, string>>,
): GpuSources => ({
  accelerators: () => titles?.map((title) => ({ title })) ?? null,
  output: async (command) => commands[command] ?? null,
  text: async (path) => files[path] ?? null,
  names: async (folder) => {
    const inside = Object.keys(files).filter((path) => path.startsWith(`${folder}/`));
    return [...new Set(inside.map((path) => path.slice(folder.length + 1).split('/')[0] ?? ''))];
  },
});

// nvidia-smi prints mebibytes: 143771 · 2^20 is 150,754,820,096.
test('NVIDIA GPUs have the name and memory that nvidia-smi reports', async () => {
  const gpus = await presentGpus(
    machine(['NVIDIA GPU'], { 'nvidia-smi': 'NVIDIA H200, 143771\nNVIDIA H200, 143771\nTesla T4, [N/A]\n' }, {}),
  );
  expect(gpus).toEqual([
    { name: 'NVIDIA H200', memoryBytes: 150_754_820_096 },
    { name: 'NVIDIA H200', memoryBytes: 150_754_820_096 },
    { name: 'Tesla T4', memoryBytes: null },
  ]);
  expect(describeGpus(gpus ?? [])).toBe('2 × NVIDIA H200 with 150.8 GB of memory, Tesla T4');
});

test('without nvidia-smi, the driver names the GPU', async () => {
  const information = 'Model: \t\t NVIDIA A10G\nIRQ:   \t\t 33\nGPU UUID: \t GPU-1\n';
  const files = { '/proc/driver/nvidia/gpus/0000:00:1e.0/information': information };
  expect(await presentGpus(machine(['NVIDIA GPU'], {}, files))).toEqual([{ name: 'NVIDIA A10G', memoryBytes: null }]);
  expect(await presentGpus(machine(['NVIDIA GPU'], {}, {}))).toEqual([{ name: 'NVIDIA GPU', memoryBytes: null }]);
});

test("AMD GPUs have the name and memory that AMD's driver reports; other cards are not GPUs of AMD", async () => {
  const files = {
    '/sys/class/drm/card0/device/mem_info_vram_total': '206158430208\n',
    '/sys/class/drm/card0/device/product_name': 'AMD Instinct MI300X\n',
    '/sys/class/drm/card0-DP-1/device/mem_info_vram_total': '206158430208\n',
    '/sys/class/drm/card1/device/vendor': '0x1a03\n',
  };
  expect(await presentGpus(machine(['AMD GPU'], {}, files))).toEqual([
    { name: 'AMD Instinct MI300X', memoryBytes: 206_158_430_208 },
  ]);
});

test('a machine has no GPUs, or they are unknown', async () => {
  expect(await presentGpus(machine([], { 'nvidia-smi': 'NVIDIA H200, 143771\n' }, {}))).toEqual([]);
  expect(await presentGpus(machine(null, {}, {}))).toBeNull();
});

test.each([
  ['cpu', 'cpu', true],
  ['Host', 'Host', true],
  ['interpreter', 'interpreter', true],
  ['vulkan', 'llvmpipe (LLVM 15.0.7, 256 bits)', true],
  ['webgpu', 'Google SwiftShader', true],
  ['opencl', 'pocl-haswell-AMD EPYC', true],
  ['dx12', 'Microsoft Basic Render Driver', true],
  ['cuda', 'NVIDIA H200', false],
  ['rocm', 'AMD Instinct MI300X', false],
  ['sycl', 'Intel(R) Data Center GPU Max 1550', false],
])('a device of the platform %s and the kind %s: software is %s', (platform, kind, expected) => {
  expect(isSoftwareDevice(platform, kind)).toBe(expected);
});
