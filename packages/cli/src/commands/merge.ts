import { resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { WhetstoneError } from '@whetstone/core/contract';
import { saveModelFolder } from '@whetstone/models';
import { mergeAdapter, readAdapterFolder } from '@whetstone/strategies';
import { listenForInterrupt } from '../interrupt.js';
import { openModel } from '../open-model.js';
import { createTerminal } from '../terminal.js';

/** `whetstone merge MODEL ADAPTER OUT`: the model with the adapter in its weights, as a Hugging Face folder. */
export async function merge(model: string, adapter: string, out: string, options: { readonly json?: boolean; readonly backend?: string }): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const folder = resolve(out);
  const interrupt = listenForInterrupt(() => terminal.complain('Stopping.'));
  // Signals are heard between two parts of the work.
  const goOn = async (): Promise<void> => {
    await setImmediate();
    if (interrupt.signal.aborted) throw new WhetstoneError('INTERRUPTED', 'The merge was interrupted; nothing was written.');
  };
  try {
    const opened = await openModel(model, { tokenizer: adapter, ...(options.backend === undefined ? {} : { backend: options.backend }) });
    try {
      await goOn();
      const files = await readAdapterFolder(adapter);
      try {
        const merged = mergeAdapter(opened.model, files);
        try {
          await goOn();
          await saveModelFolder(opened.model, folder, { replaced: merged.weights, signal: interrupt.signal, ...(opened.companionFiles === undefined ? {} : { companionFiles: opened.companionFiles }) });
          terminal.line(`${folder}: ${merged.weights.size} weights merged${merged.untiesHead ? '; the head no longer shares the embedding' : ''}`);
          terminal.result({ model: folder, merged: merged.weights.size, untiedHead: merged.untiesHead });
        } finally {
          merged.dispose();
        }
      } finally {
        files.dispose();
      }
    } finally {
      opened.dispose();
    }
  } finally {
    interrupt.close();
  }
}
