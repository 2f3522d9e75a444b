import { cpus } from 'node:os';
import { cacheFolder, findTensorflow, installTensorflow, resolveBackend } from '@whetstone/backend';
import { WhetstoneError } from '@whetstone/core/contract';
import { listenForInterrupt } from '../interrupt.js';
import { installProgress } from '../progress.js';
import { createTerminal } from '../terminal.js';

/** `whetstone backend info`: what would be computed on here, and why. */
export async function backendInfo(options: { readonly json?: boolean; readonly backend?: string }): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const tensorflow = await findTensorflow();
  const info = await resolveBackend({ name: options.backend ?? 'auto', threads: null });
  terminal.line(info.reason);
  terminal.line(`cache:         ${cacheFolder()}`);
  terminal.line(`libtensorflow: ${'reasons' in tensorflow ? `none: ${tensorflow.reasons.join('; ')}` : `${tensorflow.version ?? 'unknown version'} from the ${tensorflow.source}, ${tensorflow.folder}`}`);
  terminal.line(`processors:    ${cpus().length}`);
  terminal.result({ backend: info.backend, engine: info.engine, reason: info.reason, cache: cacheFolder(), tensorflow, processors: cpus().length });
}

/** `whetstone backend install cpu`: fetches libtensorflow into the cache. */
export async function backendInstall(kind: string, options: { readonly json?: boolean }): Promise<void> {
  if (kind !== 'cpu') throw new WhetstoneError('USAGE', `There is no backend ${JSON.stringify(kind)} to install.`, { expected: 'cpu', found: kind });
  const terminal = createTerminal(options.json === true);
  const interrupt = listenForInterrupt(() => terminal.complain('Stopping.'));
  const progress = installProgress(terminal, interrupt.signal);
  try {
    const library = await installTensorflow(progress);
    progress.close();
    terminal.line(`libtensorflow ${library.version} is in ${library.folder}`);
    terminal.result(library);
  } finally {
    progress.close();
    interrupt.close();
  }
}
