import { WhetstoneError } from '@whetstone/core/contract';
import { acceleratorFiles, type AcceleratorKind } from './accelerator-files.js';
import type { Wheel, WheelSet } from './wheels.js';

export type { AcceleratorKind } from './accelerator-files.js';

export const acceleratorKinds = Object.keys(acceleratorFiles) as readonly AcceleratorKind[];

/**
 * Paths of the files that are unpacked: the plugin, shared libraries, and the tools and libdevice of XLA's compiler for
 * CUDA. Headers, static libraries and examples are not.
 */
const neededFiles = [
  'jax_plugins/[^/]+/[^/]+\\.so',
  'nvidia/[^/]+/lib/[^/]+\\.so(\\.\\d+)*',
  'nvidia/(cuda_nvcc|cu13)/bin/(ptxas|nvlink|fatbinary)',
  'nvidia/(cuda_nvcc|cu13)/nvvm/(bin|lib64|libdevice)/[^/]+',
];
const needed = new RegExp(`^(${neededFiles.join('|')})$`);

/** Returns a wheel by its file name, such as `nvidia_cublas_cu12-12.9.3.13-py3-none-manylinux_2_27_x86_64.whl`. */
export function wheelOf(fileName: string, bytes: number, sha256: string): Wheel {
  const [name = '', version = '', , , platforms = ''] = fileName.replace(/\.whl$/, '').split('-');
  const [platform = ''] = platforms.split('.').toReversed();
  return {
    name: name.replaceAll('_', '-'),
    version,
    fileName,
    sha256,
    bytes,
    target: { pythonVersion: '3.12', platform },
    keep: needed,
  };
}

/**
 * Returns the wheels of an accelerator's PJRT plugin and its libraries. They are unpacked in the layout of
 * site-packages, because the plugin searches for NVIDIA's libraries in `../../nvidia`.
 *
 * @throws `DOWNLOAD_FAILED` if none are published for the platform
 */
export function acceleratorSet(
  kind: AcceleratorKind,
  platform: string = `${process.platform}-${process.arch}`,
): WheelSet {
  const files = acceleratorFiles[kind][platform];
  if (files === undefined) {
    throw new WhetstoneError('DOWNLOAD_FAILED', `No XLA plugin for ${kind} is published for ${platform}.`, {
      expected: Object.keys(acceleratorFiles[kind]).join(', '),
      found: platform,
      hint: 'To use a plugin that is already installed, set WHETSTONE_XLA_PLUGIN to its file.',
    });
  }
  const wheels = files.map(([fileName, bytes, sha256]) => wheelOf(fileName, bytes, sha256));
  return { name: `xla-${kind}`, version: wheels[0]?.version ?? '', wheels };
}

/** Returns the plugin's path within an installed set. */
export function pluginPath(kind: AcceleratorKind): readonly string[] {
  return ['jax_plugins', `xla_${kind}`, kind === 'rocm7' ? 'xla_rocm_plugin.so' : 'xla_cuda_plugin.so'];
}
