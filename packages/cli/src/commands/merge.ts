import { resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { WhetstoneError, type AdapterFiles, type LanguageModel, type Plugin } from '@whetstone/core/contract';
import { checkOwnFile, readText, stopTokensOf } from '@whetstone/core/files';
import { counted } from '@whetstone/core/util';
import { saveModelFolder } from '@whetstone/models';
import { checkSaving, storedDtype } from '@whetstone/models/internal';
import {
  dequantisedStorage,
  applyMergedWeights,
  largestLogitDifference,
  probeLogits,
  readQuantization,
} from '@whetstone/strategies/internal';
import { loadAdapter, mergeAdapter, readAdapterFolder } from '@whetstone/strategies';
import { pluginsForAdapter } from '../adapter-plugins.js';
import { findModelFolder } from '../fetched-models.js';
import { listenForInterrupt } from '../interrupt.js';
import { loadPlugins, type PluginOptions } from '../load-plugins.js';
import { openModel, ownFile, type OpenModel } from '../open-model.js';
import { createTerminal, type Terminal } from '../terminal.js';

type DtypeName = 'float32' | 'bfloat16' | 'float16';

export interface MergeOptions extends PluginOptions {
  readonly json?: boolean;
  readonly backend?: string;
  /** Data type of the merged weights. By default that of the stored base model. */
  readonly dtype?: DtypeName;
  /** Largest allowed difference of a logit. The default depends on the data type, because rounding changes logits. */
  readonly tolerance?: number;
  /** The base model of a QLoRA adapter. */
  readonly base: 'quantized' | 'original';
}

/** The weights of a merged adapter. */
type Merged = Awaited<ReturnType<typeof mergeAdapter>>;
type Logits = ReturnType<typeof probeLogits>;

const dtypes = { float32: 'F32', bfloat16: 'BF16', float16: 'F16' } as const;
const dtypeNames = { F32: 'float32', BF16: 'bfloat16', F16: 'float16' } as const;
const tolerances: Readonly<Record<DtypeName, number>> = { float32: 0.01, float16: 0.1, bfloat16: 0.5 };

/** The options of a merge with the defaults that depend on the base model. */
type CompleteOptions = MergeOptions & Required<Pick<MergeOptions, 'dtype' | 'tolerance'>>;

async function completed(options: MergeOptions, baseFolder: string): Promise<CompleteOptions> {
  const dtype = options.dtype ?? dtypeNames[await storedDtype(baseFolder)];
  return { ...options, dtype, tolerance: options.tolerance ?? tolerances[dtype] };
}

/**
 * `whetstone merge MODEL ADAPTER OUT`: merges an adapter and writes the model as a Hugging Face folder. Compares its
 * logits with those of model and adapter, and writes nothing if they differ by more than the tolerance.
 */
export async function merge(model: string, adapter: string, out: string, given: MergeOptions): Promise<void> {
  const terminal = createTerminal(given.json === true);
  const folder = resolve(out);
  const interrupt = listenForInterrupt(() => terminal.complain('Stopping.'));
  const { signal } = interrupt;
  const template = ownFile(adapter, 'chat_template.jinja');
  const opening = {
    tokenizer: adapter,
    backend: given.backend,
    ...(template === null ? {} : { chatTemplate: template }),
  };
  let opened: OpenModel | null = null;
  try {
    const baseFolder = await findModelFolder(model);
    await checkSaving(folder, baseFolder);
    await checkOwnFile(adapter, 'chat_template.jinja');
    const options = await completed(given, baseFolder);
    const warn = (message: string): void => terminal.complain(message);
    const plugins = await pluginsForAdapter(adapter, await loadPlugins('strategy', options.plugin), warn);
    const quantization = await readQuantization(adapter);
    opened = await openModel(model, {
      ...opening,
      storage: quantization === null ? undefined : dequantisedStorage(quantization),
    });
    await refuseIfInterrupted(signal);
    const files = await readAdapterFolder(adapter, { warn });
    try {
      const expected = await adaptedLogits(opened.model, files, plugins, warn);
      await refuseIfInterrupted(signal);
      if (quantization !== null && options.base === 'original') {
        opened.dispose();
        opened = await openModel(model, opening);
      }
      // The warnings about the adapter were written above.
      const merged = await mergeAdapter(opened.model, files, plugins, { warn: () => undefined });
      try {
        const difference = await saveMerged(opened, merged, expected, { folder, adapter, options, signal });
        printResult(terminal, merged, difference, {
          folder,
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

/** Processes signals between two steps of the merge. @throws `INTERRUPTED` if one arrived */
async function refuseIfInterrupted(signal: AbortSignal): Promise<void> {
  await setImmediate();
  if (signal.aborted) throw new WhetstoneError('INTERRUPTED', 'The merge was interrupted; nothing was written.');
}

/** Returns logits of the model with the adapter on it. */
async function adaptedLogits(
  model: LanguageModel,
  files: AdapterFiles,
  plugins: readonly Plugin[],
  warn: (message: string) => void,
): Promise<Logits> {
  const loaded = await loadAdapter(model, files, plugins, { warn });
  const logits = probeLogits(model);
  loaded.dispose();
  return logits;
}

/**
 * Puts the merged weights into the model and writes it. Returns the largest difference of a logit.
 *
 * @param expected logits of the model with the adapter
 * @throws `MERGE_DIFFERS` before anything is written, if a logit differs by more than the tolerance
 * @throws `INTERRUPTED` if the signal is aborted
 */
async function saveMerged(
  opened: OpenModel,
  { weights }: Merged,
  expected: Logits,
  to: {
    readonly folder: string;
    readonly adapter: string;
    readonly options: CompleteOptions;
    readonly signal: AbortSignal;
  },
): Promise<number> {
  const { model } = opened;
  const dtype = dtypes[to.options.dtype];
  applyMergedWeights(model, weights, dtype);
  const difference = largestLogitDifference(expected, probeLogits(model));
  await refuseIfInterrupted(to.signal);
  if (difference > to.options.tolerance) throw differs(difference, to.options);
  const { added, generationConfig } = await stopTokensOf(opened);
  const companionFiles = {
    ...opened.companionFiles,
    ...(added.length === 0 ? {} : { 'generation_config.json': generationConfig }),
    ...(await templateOf(to.adapter)),
  };
  await saveModelFolder(model, to.folder, { dtype, replaced: weights, signal: to.signal, companionFiles });
  return difference;
}

/** Returns the chat template with which an adapter was trained, if its folder contains one. */
async function templateOf(adapter: string): Promise<Readonly<Record<string, string>>> {
  const file = ownFile(adapter, 'chat_template.jinja');
  return file === null ? {} : { 'chat_template.jinja': await readText(file) };
}

function printResult(
  terminal: Terminal,
  { weights, untiesHead }: Merged,
  difference: number,
  { folder, base, dtype }: { readonly folder: string } & Pick<CompleteOptions, 'base' | 'dtype'>,
): void {
  terminal.line(
    `${folder}: ${counted(weights.size, 'weight')} merged` +
      `${untiesHead ? '; the head no longer shares the embedding' : ''}; ` +
      `logits differ by at most ${difference.toPrecision(2)}`,
  );
  terminal.result({
    model: folder,
    merged: weights.size,
    untiedHead: untiesHead,
    largestLogitDifference: difference,
    base,
    dtype,
  });
}

function differs(difference: number, { tolerance, dtype, base }: CompleteOptions): WhetstoneError {
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
