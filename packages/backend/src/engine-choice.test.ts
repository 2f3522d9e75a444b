import { expect, test } from 'vitest';
import { cudaForDriver, engines, NoAcceleratorError, presentAccelerators } from './engine-choice.js';

// The texts are from /proc/driver/nvidia/version of NVIDIA's closed and open kernel modules.

test('the driver version determines the CUDA release', () => {
  expect(
    cudaForDriver(
      'NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version:  ' +
        'gcc version 12.2.0 (Debian 12.2.0-14)\n',
    ),
  ).toBe('cuda12');
  expect(
    cudaForDriver(
      'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)\nGCC ' +
        'version:  gcc version 13.3.0\n',
    ),
  ).toBe('cuda13');
  expect(cudaForDriver(null)).toBe('cuda12');
});

test.skipIf(process.platform !== 'linux')(
  'accelerators are found by device file and listed with the command that fetches the plugin',
  () => {
    expect(presentAccelerators(() => false)).toEqual([]);
    expect(presentAccelerators((path) => path === '/dev/nvidia0')).toEqual([
      { title: 'NVIDIA GPU', hint: expect.stringMatching(/^npx @whetstone\/backend install cuda1[23]$/) as string },
    ]);
    expect(presentAccelerators((path) => path === '/dev/kfd')).toEqual([
      { title: 'AMD GPU', hint: 'npx @whetstone/backend install rocm7' },
    ]);
  },
);

test('without a plugin, an accelerator is an error that names it, and no accelerator is not reported', async () => {
  const present = presentAccelerators() ?? [];
  await expect(engines[0].choose({ xlaPlugin: '/no/such/plugin.so' }, {})).rejects.toThrow(
    present.length === 0 ? NoAcceleratorError : /no XLA plugin for it/,
  );
});
