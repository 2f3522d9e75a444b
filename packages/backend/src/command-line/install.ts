import { WhetstoneError } from '@whetstone/core/contract';
import { formatBytes } from '@whetstone/core/util';
import {
  cacheFolder,
  installTensorflow,
  installXlaPlugin,
  tensorflowCpuWheel,
  xlaPluginKinds,
  xlaPluginSet,
  type InstallOptions,
  type Wheel,
  type XlaPluginKind,
} from '../install/index.js';
import type { Output } from './output.js';

/** What a plugin needs and {@link backendInstall} cannot download. */
const alsoNeeded: Readonly<Partial<Record<XlaPluginKind, string>>> = {
  cuda12: 'It needs NVIDIA driver 525 or later; the rest of CUDA is downloaded.',
  cuda13: 'It needs NVIDIA driver 580 or later; the rest of CUDA is downloaded.',
  rocm7:
    "It needs AMD's ROCm 7 besides, which is not on the package index: it looks in /opt/rocm/lib and " +
    'LD_LIBRARY_PATH. `ldd` on the plugin shows which libraries are missing.',
};

const installKinds: readonly string[] = ['cpu', ...xlaPluginKinds];

const isPluginKind = (kind: string): kind is XlaPluginKind => (xlaPluginKinds as readonly string[]).includes(kind);

function checkKind(kind: string): 'cpu' | XlaPluginKind {
  if (kind === 'cpu' || isPluginKind(kind)) return kind;
  throw new WhetstoneError('USAGE', `Backend ${JSON.stringify(kind)} not found.`, {
    expected: installKinds.join(', '),
    found: kind,
  });
}

/**
 * Lists what {@link backendInstall} would download.
 *
 * @throws `USAGE` for an unknown kind
 */
export function listDownloads(name: string, output: Output): void {
  const kind = checkKind(name);
  const wheels: readonly Wheel[] = kind === 'cpu' ? [tensorflowCpuWheel()] : xlaPluginSet(kind).wheels;
  for (const wheel of wheels) output.line(`${formatBytes(wheel.bytes ?? 0).padStart(8)}  ${wheel.fileName}`);
  const total = wheels.reduce((sum, wheel) => sum + (wheel.bytes ?? 0), 0);
  output.line(`${formatBytes(total).padStart(8)}  to fetch into ${cacheFolder()}`);
  if (kind !== 'cpu' && alsoNeeded[kind] !== undefined) output.line(alsoNeeded[kind]);
  output.result({
    kind,
    bytes: total,
    cache: cacheFolder(),
    wheels: wheels.map(({ name: wheel, version, fileName, bytes, sha256 }) => ({
      name: wheel,
      version,
      fileName,
      bytes,
      sha256,
    })),
  });
}

/**
 * Downloads libtensorflow, or an XLA plugin with its libraries, into the cache.
 *
 * @throws `USAGE` for an unknown kind, `DOWNLOAD_FAILED`
 */
export async function backendInstall(name: string, output: Output, progress: InstallOptions): Promise<void> {
  const kind = checkKind(name);
  if (kind === 'cpu') {
    const library = await installTensorflow(progress);
    output.line(`libtensorflow ${library.version} is in ${library.folder}`);
    output.result(library);
    return;
  }
  const plugin = await installXlaPlugin(kind, progress);
  output.line(`The XLA plugin ${plugin.version} is ${plugin.path}`);
  if (alsoNeeded[kind] !== undefined) output.line(alsoNeeded[kind]);
  output.result(plugin);
}
