import { WhetstoneError, type AdapterFiles, type LanguageModel, type Plugin } from '@whetstone/core/contract';
import { mergedWeights, type MergedWeights } from '../support/merged-weights.js';
import { configFile, peftTypeOf } from './adapter-files.js';
import { adapterWarnings, emitWarning, type ReadOptions } from './base-model.js';
import { formatOf } from './formats.js';
import { callFormat, validateMerged } from './validate-format.js';

/**
 * Computes the weights of the model merged with an adapter. The model does not change.
 *
 * @param plugins plugins of strategies in addition to the built-in ones
 * @param options.warn receives the warnings about the adapter, for example that it was trained on another model; by
 *   default the process emits them
 * @throws `ADAPTER_INVALID` if no strategy reads the type of the adapter, if it does not match the model, or if such
 *   adapters cannot be merged (prefixes and prompts)
 */
export async function mergeAdapter(
  model: LanguageModel,
  files: AdapterFiles,
  plugins: readonly Plugin[] = [],
  options: ReadOptions = {},
): Promise<MergedWeights> {
  const format = formatOf(files, plugins);
  if (format.merge === undefined)
    throw new WhetstoneError('ADAPTER_INVALID', 'Adapters of this type cannot be merged into the weights.', {
      place: { file: configFile(files.folder), path: 'peft_type' },
      found: peftTypeOf(files) ?? 'nothing',
      hint: 'Use the adapter unmerged, on its base model.',
    });
  const { merge } = format;
  const peftType = peftTypeOf(files) ?? '';
  const result = await callFormat(peftType, 'adapter.merge', () => merge.call(format, model, files));
  const merged = validateMerged(result, model, peftType);
  for (const warning of await adapterWarnings(model, files)) (options.warn ?? emitWarning)(warning);
  return mergedWeights(model, merged);
}
