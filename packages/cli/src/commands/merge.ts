import { resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { WhetstoneError } from '@whetstone/core/contract';
import { saveModelFolder } from '@whetstone/models';
import {
  baseNumbers,
  becomeMerged,
  largestLogitDifference,
  probeLogits,
  readQuantization,
} from '@whetstone/strategies/internal';
import { loadAdapter, mergeAdapter, readAdapterFolder } from '@whetstone/strategies';
import { listenForInterrupt } from '../interrupt.js';
import { openModel, type OpenModel } from '../open-model.js';
import { createTerminal } from '../terminal.js';

export interface MergeOptions {
  readonly json?: boolean;
  readonly backend?: string;
  /** What the merged weights are written as. */
  readonly dtype: 'float32' | 'bfloat16' | 'float16';
  /** Largest difference of a logit that is put up with. */
  readonly tolerance: number;
  /** Which base a QLoRA adapter goes onto. */
  readonly base: 'quantized' | 'original';
}

const dtypes = { float32: 'F32', bfloat16: 'BF16', float16: 'F16' } as const;

/**
 * `whetstone merge MODEL ADAPTER OUT`: the model with the adapter in its weights, as a Hugging Face folder. What the
 * merged model computes is compared with what model and adapter compute, and nothing is written where they differ by
 * more than the tolerance.
 */
export async function merge(model: string, adapter: string, out: string, options: MergeOptions): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const folder = resolve(out);
  const dtype = dtypes[options.dtype];
  const interrupt = listenForInterrupt(() => terminal.complain('Stopping.'));
  // Signals are heard between two parts of the work.
  const goOn = async (): Promise<void> => {
    await setImmediate();
    if (interrupt.signal.aborted)
      throw new WhetstoneError('INTERRUPTED', 'The merge was interrupted; nothing was written.');
  };
  const opening = { tokenizer: adapter, ...(options.backend === undefined ? {} : { backend: options.backend }) };
  let opened: OpenModel | null = null;
  try {
    const quantization = await readQuantization(adapter);
    const quantized = quantization === null ? {} : { storage: baseNumbers(quantization) };
    opened = await openModel(model, { ...opening, ...quantized });
    await goOn();
    const files = await readAdapterFolder(adapter);
    try {
      const loaded = loadAdapter(opened.model, files);
      const adapted = probeLogits(opened.model);
      loaded.dispose();
      await goOn();
      if (quantization !== null && options.base === 'original') {
        opened.dispose();
        opened = await openModel(model, opening);
      }
      const merged = mergeAdapter(opened.model, files);
      try {
        becomeMerged(opened.model, merged.weights, dtype);
        const difference = largestLogitDifference(adapted, probeLogits(opened.model));
        await goOn();
        if (difference > options.tolerance) throw differs(difference, options);
        await saveModelFolder(opened.model, folder, {
          dtype,
          replaced: merged.weights,
          signal: interrupt.signal,
          ...(opened.companionFiles === undefined ? {} : { companionFiles: opened.companionFiles }),
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
    ...(base === 'original' ? ['the original base in place of the quantised one that the adapter was trained on'] : []),
  ];
  return new WhetstoneError(
    'MERGE_DIFFERS',
    'The merged model would compute something else than model and adapter do; nothing was written.',
    {
      expected: `logits that differ by at most ${tolerance}`,
      found: `a difference of ${difference.toPrecision(3)}`,
      details: { largestLogitDifference: difference, tolerance },
      hint:
        reasons.length === 0
          ? 'Raise --tolerance if that is what you want.'
          : `It comes of ${reasons.join(' and ')}. Leave that, or raise --tolerance if that is what you want.`,
    },
  );
}
