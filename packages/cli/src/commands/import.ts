import { importGguf } from '@whetstone/models';
import type { ImportDtype } from '@whetstone/models/internal';
import { listenForInterrupt } from '../interrupt.js';
import { createTerminal } from '../terminal.js';

/**
 * `whetstone import file.gguf OUT`: writes its weights, configuration, tokenizer and chat template as a Hugging Face
 * folder.
 */
export async function importModel(
  gguf: string,
  out: string,
  options: { readonly json?: boolean; readonly dtype?: ImportDtype },
): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const interrupt = listenForInterrupt(() => terminal.complain('Stopping.'));
  try {
    const report = await importGguf(gguf, out, {
      signal: interrupt.signal,
      dtype: options.dtype,
      onProgress: ({ tensor, done, total }) => {
        terminal.redraw(`${done}/${total} ${tensor}`);
      },
    });
    terminal.redraw('');
    terminal.line(
      `${report.folder}: ${report.architecture}, ${(report.parameters / 1e6).toFixed(1)} million parameters in ` +
        `${report.tensors} tensors of ${report.dtype}`,
    );
    for (const note of report.notes) terminal.line(`note: ${note}`);
    terminal.result(report);
  } finally {
    interrupt.close();
  }
}
