import { cpus, totalmem } from 'node:os';
import { backend as currentBackend } from '@tensorflow/tfjs-core';
import { cacheFolder, findTensorflow, findXlaPlugin, installTensorflow, installXlaPlugin, measureMatmul, resolveBackend, tensorflowCpuWheel, WhetstoneBackend, xlaPluginKinds, xlaPluginSet, type Wheel, type XlaPluginKind } from '@whetstone/backend';
import { WhetstoneError } from '@whetstone/core/contract';
import { bytes } from '../format.js';
import { listenForInterrupt } from '../interrupt.js';
import { installProgress } from '../progress.js';
import { createTerminal } from '../terminal.js';

/** `whetstone backend info`: what would be computed on here, why, and how fast it multiplies. */
export async function backendInfo(options: { readonly json?: boolean; readonly backend?: string }): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const tensorflow = await findTensorflow();
  const xla = await findXlaPlugin();
  const info = await resolveBackend({ name: options.backend ?? 'auto', threads: null });
  const current = currentBackend();
  const engine = current instanceof WhetstoneBackend ? { name: current.engine.name, version: current.engine.version, device: current.engine.device } : { name: info.engine, version: null, device: { kind: cpus()[0]?.model.trim() ?? process.arch, count: 1, memoryBytes: totalmem() } };
  const matmul = await measureMatmul();
  const { kind, count, memoryBytes } = engine.device;
  terminal.line(info.reason);
  terminal.line(`engine:        ${engine.name}${engine.version === null ? '' : ` ${engine.version}`}`);
  terminal.line(`device:        ${count === 1 ? '' : `${count} × `}${kind}, ${cpus().length} processors${memoryBytes === null ? '' : `, ${bytes(memoryBytes)} of memory`}`);
  terminal.line(`matmul:        ${matmul.gigaflops.toPrecision(3)} GFLOP/s at ${matmul.side} × ${matmul.side}`);
  terminal.line(`cache:         ${cacheFolder()}`);
  terminal.line(`libtensorflow: ${'reasons' in tensorflow ? `none: ${tensorflow.reasons.join('; ')}` : `${tensorflow.version ?? 'unknown version'} from the ${tensorflow.source}, ${tensorflow.folder}`}`);
  terminal.line(`XLA plugin:    ${'reasons' in xla ? `none: ${xla.reasons.join('; ')}` : `${xla.version ?? 'unknown version'} from the ${xla.source}, ${xla.path}`}`);
  terminal.result({ backend: info.backend, engine: info.engine, engineVersion: engine.version, reason: info.reason, device: engine.device, processors: cpus().length, matmul, cache: cacheFolder(), tensorflow, xla });
}

export const installKinds: readonly string[] = ['cpu', ...xlaPluginKinds];

const isPluginKind = (kind: string): kind is XlaPluginKind => (xlaPluginKinds as readonly string[]).includes(kind);

/** `whetstone backend install KIND`: fetches libtensorflow, or an XLA plugin with the libraries that it needs, into the cache. */
export async function backendInstall(kind: string, options: { readonly json?: boolean; readonly dryRun?: boolean }): Promise<void> {
  if (kind !== 'cpu' && !isPluginKind(kind)) throw new WhetstoneError('USAGE', `There is no backend ${JSON.stringify(kind)} to install.`, { expected: installKinds.join(', '), found: kind });
  const terminal = createTerminal(options.json === true);
  if (options.dryRun === true) {
    const wheels: readonly Wheel[] = kind === 'cpu' ? [tensorflowCpuWheel()] : xlaPluginSet(kind).wheels;
    for (const wheel of wheels) terminal.line(`${bytes(wheel.bytes ?? 0).padStart(8)}  ${wheel.fileName}`);
    const total = wheels.reduce((sum, wheel) => sum + (wheel.bytes ?? 0), 0);
    terminal.line(`${bytes(total).padStart(8)}  to fetch into ${cacheFolder()}`);
    terminal.result({ kind, bytes: total, cache: cacheFolder(), wheels: wheels.map(({ name, version, fileName, bytes: size, sha256 }) => ({ name, version, fileName, bytes: size, sha256 })) });
    return;
  }
  const interrupt = listenForInterrupt(() => terminal.complain('Stopping.'));
  const progress = installProgress(terminal, interrupt.signal);
  try {
    if (kind !== 'cpu') {
      const plugin = await installXlaPlugin(kind, progress);
      progress.close();
      terminal.line(`The XLA plugin ${plugin.version} is ${plugin.path}`);
      if (kind === 'rocm7') terminal.line('It looks for ROCm 7 itself on this machine: that is not on the package index.');
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
