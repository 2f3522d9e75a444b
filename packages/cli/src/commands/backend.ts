import { cpus, totalmem } from 'node:os';
import { backend as currentBackend } from '@tensorflow/tfjs-core';
import { resolveBackend } from '@whetstone/backend';
import {
  cacheFolder,
  findTensorflow,
  findXlaPlugin,
  installTensorflow,
  installXlaPlugin,
  tensorflowCpuWheel,
  xlaPluginKinds,
  xlaPluginSet,
  type Wheel,
  type XlaPluginKind,
} from '@whetstone/backend/install';
import { measureMatmul, presentAccelerators, WhetstoneBackend } from '@whetstone/backend/internal';
import { WhetstoneError } from '@whetstone/core/contract';
import { bytes } from '../format.js';
import { listenForInterrupt } from '../interrupt.js';
import { installProgress } from '../progress.js';
import { createTerminal } from '../terminal.js';

/** `whetstone backend info`: shows the chosen backend, the reason, and its speed at a matrix product. */
export async function backendInfo(options: { readonly json?: boolean; readonly backend?: string }): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const tensorflow = await findTensorflow();
  const xla = await findXlaPlugin();
  const info = await resolveBackend({ name: options.backend ?? 'auto', threads: null });
  const current = currentBackend();
  const engine =
    current instanceof WhetstoneBackend
      ? { name: current.engine.name, version: current.engine.version, device: current.engine.device }
      : {
          name: info.engine,
          version: null,
          device: { kind: cpus()[0]?.model.trim() ?? process.arch, count: 1, memoryBytes: totalmem() },
        };
  const matmul = await measureMatmul();
  const { kind, count, memoryBytes } = engine.device;
  terminal.line(info.reason);
  terminal.line(`engine:        ${engine.name}${engine.version === null ? '' : ` ${engine.version}`}`);
  terminal.line(
    `device:        ${count === 1 ? '' : `${count} × `}${kind}, ${cpus().length} ` +
      `processors${memoryBytes === null ? '' : `, ${bytes(memoryBytes)} of memory`}`,
  );
  terminal.line(`accelerator:   ${acceleratorLine(info.engine)}`);
  terminal.line(`weights:       ${weightsLine(info.backend)}`);
  terminal.line(`matmul:        ${matmul.gigaflops.toPrecision(3)} GFLOP/s at ${matmul.side} × ${matmul.side}`);
  terminal.line(`cache:         ${cacheFolder()}`);
  terminal.line(
    `libtensorflow: ${'reasons' in tensorflow ? missingLine(tensorflow) : libraryLine(tensorflow, tensorflow.folder)}`,
  );
  terminal.line(`XLA plugin:    ${'reasons' in xla ? missingLine(xla) : libraryLine(xla, xla.path)}`);
  terminal.result({
    backend: info.backend,
    engine: info.engine,
    engineVersion: engine.version,
    reason: info.reason,
    device: engine.device,
    processors: cpus().length,
    accelerators: presentAccelerators(),
    matmul,
    cache: cacheFolder(),
    tensorflow,
    xla,
  });
}

const missingLine = ({ reasons }: { readonly reasons: readonly string[] }): string => `none: ${reasons.join('; ')}`;

const libraryLine = (
  { version, source }: { readonly version: string | null; readonly source: string },
  path: string,
): string => `${version ?? 'unknown version'} from the ${source}, ${path}`;

/** The storage formats of weights that a backend supports. */
function weightsLine(backend: string): string {
  if (backend === 'whetstone')
    return 'stored as float32, bfloat16, int8, NF4 or FP4, as the model and the strategy require';
  return ['cpu', 'wasm'].includes(backend)
    ? 'stored as int8, NF4 or FP4 by qlora, otherwise as float32, even if bfloat16 is configured'
    : 'always stored as float32';
}

/** The accelerators that the operating system reports. */
function acceleratorLine(engine: string): string {
  const present = presentAccelerators();
  if (present === null) return 'detection is not supported on this system';
  if (present.length === 0) return 'none found (no /dev/nvidia0, no /dev/kfd)';
  const titles = present.map(({ title }) => title).join(', ');
  return engine === 'xla'
    ? titles
    : `${titles}; install its plugin with: ${present.map(({ hint }) => hint).join(', ')}`;
}

/** What a plugin needs and `backend install` cannot download. */
const alsoNeeded: Readonly<Partial<Record<XlaPluginKind, string>>> = {
  cuda12: 'It needs NVIDIA driver 525 or later; the rest of CUDA is downloaded.',
  cuda13: 'It needs NVIDIA driver 580 or later; the rest of CUDA is downloaded.',
  rocm7:
    "It needs AMD's ROCm 7 besides, which is not on the package index: it looks in /opt/rocm/lib and " +
    'LD_LIBRARY_PATH. `ldd` on the plugin shows which libraries are missing.',
};

export const installKinds: readonly string[] = ['cpu', ...xlaPluginKinds];

const isPluginKind = (kind: string): kind is XlaPluginKind => (xlaPluginKinds as readonly string[]).includes(kind);

/**
 * `whetstone backend install KIND`: downloads libtensorflow, or an XLA plugin with its libraries, into the cache.
 */
export async function backendInstall(
  kind: string,
  options: { readonly json?: boolean; readonly dryRun?: boolean },
): Promise<void> {
  if (kind !== 'cpu' && !isPluginKind(kind))
    throw new WhetstoneError('USAGE', `There is no backend ${JSON.stringify(kind)} to install.`, {
      expected: installKinds.join(', '),
      found: kind,
    });
  const terminal = createTerminal(options.json === true);
  if (options.dryRun === true) {
    const wheels: readonly Wheel[] = kind === 'cpu' ? [tensorflowCpuWheel()] : xlaPluginSet(kind).wheels;
    for (const wheel of wheels) terminal.line(`${bytes(wheel.bytes ?? 0).padStart(8)}  ${wheel.fileName}`);
    const total = wheels.reduce((sum, wheel) => sum + (wheel.bytes ?? 0), 0);
    terminal.line(`${bytes(total).padStart(8)}  to fetch into ${cacheFolder()}`);
    if (kind !== 'cpu' && alsoNeeded[kind] !== undefined) terminal.line(alsoNeeded[kind]);
    terminal.result({
      kind,
      bytes: total,
      cache: cacheFolder(),
      wheels: wheels.map(({ name, version, fileName, bytes: size, sha256 }) => ({
        name,
        version,
        fileName,
        bytes: size,
        sha256,
      })),
    });
    return;
  }
  const interrupt = listenForInterrupt(() => terminal.complain('Stopping.'));
  const progress = installProgress(terminal, interrupt.signal);
  try {
    if (kind !== 'cpu') {
      const plugin = await installXlaPlugin(kind, progress);
      progress.close();
      terminal.line(`The XLA plugin ${plugin.version} is ${plugin.path}`);
      if (alsoNeeded[kind] !== undefined) terminal.line(alsoNeeded[kind]);
      terminal.result(plugin);
      return;
    }
    const library = await installTensorflow(progress);
    progress.close();
    terminal.line(`libtensorflow ${library.version} is in ${library.folder}`);
    terminal.result(library);
  } finally {
    progress.close();
    interrupt.close();
  }
}
