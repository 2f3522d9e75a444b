import { cpus } from 'node:os';
import { cacheFolder, findTensorflow, findXlaPlugin, installTensorflow, installXlaPlugin, resolveBackend } from '@whetstone/backend';
import { WhetstoneError } from '@whetstone/core/contract';
import { listenForInterrupt } from '../interrupt.js';
import { installProgress } from '../progress.js';
import { createTerminal } from '../terminal.js';

/** `whetstone backend info`: what would be computed on here, and why. */
export async function backendInfo(options: { readonly json?: boolean; readonly backend?: string }): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const tensorflow = await findTensorflow();
  const xla = await findXlaPlugin();
  const info = await resolveBackend({ name: options.backend ?? 'auto', threads: null });
  terminal.line(info.reason);
  terminal.line(`cache:         ${cacheFolder()}`);
  terminal.line(`libtensorflow: ${'reasons' in tensorflow ? `none: ${tensorflow.reasons.join('; ')}` : `${tensorflow.version ?? 'unknown version'} from the ${tensorflow.source}, ${tensorflow.folder}`}`);
  terminal.line(`XLA plugin:    ${'reasons' in xla ? `none: ${xla.reasons.join('; ')}` : `${xla.version ?? 'unknown version'} from the ${xla.source}, ${xla.path}`}`);
  terminal.line(`processors:    ${cpus().length}`);
  terminal.result({ backend: info.backend, engine: info.engine, reason: info.reason, cache: cacheFolder(), tensorflow, xla, processors: cpus().length });
}

/** `whetstone backend install cpu | xla-cpu`: fetches libtensorflow, or an XLA plugin, into the cache. */
export async function backendInstall(kind: string, options: { readonly json?: boolean }): Promise<void> {
  if (kind !== 'cpu' && kind !== 'xla-cpu') throw new WhetstoneError('USAGE', `There is no backend ${JSON.stringify(kind)} to install.`, { expected: 'cpu or xla-cpu', found: kind });
  const terminal = createTerminal(options.json === true);
  const interrupt = listenForInterrupt(() => terminal.complain('Stopping.'));
  const progress = installProgress(terminal, interrupt.signal);
  try {
    if (kind === 'xla-cpu') {
      const plugin = await installXlaPlugin(progress);
      progress.close();
      terminal.line(`The XLA plugin ${plugin.version} is ${plugin.path}`);
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
