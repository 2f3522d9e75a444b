import { resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { WhetstoneError } from '@whetstone/core/contract';
import { saveModelFolder } from '@whetstone/models';
import {
  dequantisedStorage,
  applyMergedWeights,
  largestLogitDifference,
  probeLogits,
  readQuantization,
} from '@whetstone/strategies/internal';
import { loadAdapter, mergeAdapter, readAdapterFolder } from '@whetstone/strategies';
import { listenForInterrupt } from '../interrupt.js';
import { loadPlugins, type PluginOptions } from '../load-plugins.js';
import { openModel, type OpenModel } from '../open-model.js';
import { createTerminal } from '../terminal.js';

export interface MergeOptions extends PluginOptions {
  readonly json?: boolean;
  readonly backend?: string;
  /** Data type of the merged weights. */
  readonly dtype: 'float32' | 'bfloat16' | 'float16';
  /** Largest allowed difference of a logit. */
  readonly tolerance: number;
  /** The base model of a QLoRA adapter. */
  readonly base: 'quantized' | 'original';
}

const dtypes = { float32: 'F32', bfloat16: 'BF16', float16: 'F16' } as const;

/**
 * `whetstone merge MODEL ADAPTER OUT`: merges an adapter and writes the model as a Hugging Face folder. Compares its
 * logits with those of model and adapter, and writes nothing if they differ by more than the tolerance.
 */
export async function merge(model: string, adapter: string, out: string, options: MergeOptions): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const folder = resolve(out);
  const dtype = dtypes[options.dtype];
  const interrupt = listenForInterrupt(() => terminal.complain('Stopping.'));
  // Signals are processed between two steps of the merge.
  const goOn = async (): Promise<void> => {
    await setImmediate();
    if (interrupt.signal.aborted)
      throw new WhetstoneError('INTERRUPTED', 'The merge was interrupted; nothing was written.');
  };
  const opening = { tokenizer: adapter, backend: options.backend };
  let opened: OpenModel | null = null;
  try {
    const plugins = await loadPlugins('strategy', options.plugin);
    const quantization = await readQuantization(adapter);
    opened = await openModel(model, {
      ...opening,
      storage: quantization === null ? undefined : dequantisedStorage(quantization),
    });
    await goOn();
    const files = await readAdapterFolder(adapter);
    try {
      const loaded = await loadAdapter(opened.model, files, plugins);
      const adapted = probeLogits(opened.model);
      loaded.dispose();
      await goOn();
      if (quantization !== null && options.base === 'original') {
        opened.dispose();
        opened = await openModel(model, opening);
      }
      const merged = await mergeAdapter(opened.model, files, plugins);
      try {
        applyMergedWeights(opened.model, merged.weights, dtype);
        const difference = largestLogitDifference(adapted, probeLogits(opened.model));
        await goOn();
        if (difference > options.tolerance) throw differs(difference, options);
        await saveModelFolder(opened.model, folder, {
          dtype,
          replaced: merged.weights,
          signal: interrupt.signal,
          companionFiles: opened.companionFiles,
        });
        terminal.line(
          `${folder}: ${merged.weights.size} weights ` +
            `merged${merged.untiesHead ? '; the head no longer shares the embedding' : ''}; logits differ by at ` +
            `most ${difference.toPrecision(2)}`,
        );
        terminal.result({
          model: folder,
          merged: merged.weights.size,
          untiedHead: merged.untiesHead,
          largestLogitDifference: difference,
          base: quantization === null ? 'original' : options.base,
          dtype: options.dtype,
        });
      } finally {
        merged.dispose();
      }
    } finally {
      files.dispose();
    }
  } finally {
    opened?.dispose();
    interrupt.close();
  }
}

function differs(difference: number, { tolerance, dtype, base }: MergeOptions): WhetstoneError {
  const reasons = [
    ...(dtype === 'float32' ? [] : [`weights rounded to ${dtype}`]),
    ...(base === 'original' ? ['the original base instead of the quantised one that the adapter was trained on'] : []),
  ];
  return new WhetstoneError(
    'MERGE_DIFFERS',
    'The merged model would differ from the model with its adapter; nothing was written.',
    {
      expected: `logits that differ by at most ${tolerance}`,
      found: `a difference of ${difference.toPrecision(3)}`,
      details: { largestLogitDifference: difference, tolerance },
      hint:
        reasons.length === 0
          ? 'Raise --tolerance to accept the difference.'
          : `The cause is ${reasons.join(' and ')}. Avoid it, or raise --tolerance to accept the difference.`,
    },
  );
}
