import * as command from '@whetstone/backend/internal';
import { listenForInterrupt } from '../interrupt.js';
import { installProgress } from '../progress.js';
import { createTerminal } from '../terminal.js';

/** `whetstone backend info`: shows the chosen backend, the reason, and its speed at a matrix product. */
export async function backendInfo(options: { readonly json?: boolean; readonly backend?: string }): Promise<void> {
  await command.backendInfo(options.backend ?? 'auto', createTerminal(options.json === true));
}

/**
 * `whetstone backend install KIND`: downloads libtensorflow, or an XLA plugin with its libraries, into the cache.
 */
export async function backendInstall(
  kind: string,
  options: { readonly json?: boolean; readonly dryRun?: boolean },
): Promise<void> {
  const terminal = createTerminal(options.json === true);
  if (options.dryRun === true) return command.listDownloads(kind, terminal);
  const interrupt = listenForInterrupt(() => terminal.complain('Stopping.'));
  const progress = installProgress(terminal, interrupt.signal);
  // The bar is removed before the last line.
  const closingProgress = (text: string): void => {
    progress.close();
    terminal.line(text);
  };
  try {
    await command.backendInstall(kind, { line: closingProgress, result: terminal.result }, progress);
  } finally {
    progress.close();
    interrupt.close();
  }
}
