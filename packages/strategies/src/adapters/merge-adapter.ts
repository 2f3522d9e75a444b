import { clone, mul, reshape, type Tensor } from '@tensorflow/tfjs-core';
import { WhetstoneError, type LanguageModel } from '@whetstone/core/contract';
import { mergedWeight } from '../lora/layer.js';
import { readLoraAdapter } from '../lora/from-peft.js';
import { mergedTable } from '../lora/token-rows.js';
import { configFile, type AdapterFiles } from './adapter-files.js';
import { peftTypeOf, readIa3Adapter } from './load-adapter.js';

/** Weights that differ from the base model's, by parameter name. The caller owns the tensors. */
export interface MergedWeights {
  readonly weights: ReadonlyMap<string, Tensor>;
  /**
   * True where a head or embedding that shared its weight no longer does: `tie_word_embeddings` must become false, and
   * both be written.
   */
  readonly untiesHead: boolean;
  dispose(): void;
}

/**
 * The weights of model and adapter in one. The model itself is not changed.
 *
 * @throws ADAPTER_INVALID where the adapter does not fit, or is of a kind that lives outside the weights (prefixes,
 *   prompts).
 */
export function mergeAdapter(model: LanguageModel, files: AdapterFiles): MergedWeights {
  const type = peftTypeOf(files);
  const rows = new Map<string, Tensor>();
  const weights = type === 'LORA' ? mergedLora(model, files, rows) : type === 'IA3' ? mergedIa3(model, files) : null;
  if (weights === null) {
    throw new WhetstoneError(
      'ADAPTER_INVALID',
      'A prefix or prompt lives beside the weights and cannot be merged into them.',
      {
        place: { file: configFile(files.folder), path: 'peft_type' },
        found: type,
        hint: 'Give the adapter to chat or generate as it is.',
      },
    );
  }
  const tiedHead = [...model.linearSites.values()].find(
    (site) => site.isOutput && !model.parameters.has(`${site.name}.weight`),
  );
  const changes = (name: string): boolean => weights.has(`${name}.weight`);
  const untiesHead = tiedHead !== undefined && (changes(tiedHead.name) || changes(model.embeddingSite.name));
  if (untiesHead && !changes(tiedHead.name)) weights.set(`${tiedHead.name}.weight`, clone(tiedHead.weight));
  // Rows of single tokens are the head's as well, where it shares its weight with the embedding: they untie nothing.
  for (const [name, table] of rows) weights.set(name, table);
  return {
    weights,
    untiesHead,
    dispose: () => {
      for (const tensor of weights.values()) tensor.dispose();
    },
  };
}

/** @param rows takes the matrices of which an adapter trains only some rows */
function mergedLora(model: LanguageModel, files: AdapterFiles, rows: Map<string, Tensor>): Map<string, Tensor> {
  const adapter = readLoraAdapter(model, files);
  for (const each of adapter.tokenRows) rows.set(`${each.module}.weight`, mergedTable(model, each));
  const weights = new Map<string, Tensor>(
    [...adapter.replaced].map(([name, tensor]) => [name, clone(tensor)] as const),
  );
  for (const layer of adapter.layers) weights.set(`${layer.site.name}.weight`, mergedWeight(layer));
  adapter.dispose();
  return weights;
}

function mergedIa3(model: LanguageModel, files: AdapterFiles): Map<string, Tensor> {
  const weights = new Map<string, Tensor>();
  for (const { site, scale, isFeedforward } of readIa3Adapter(model, files)) {
    // Features that are scaled lie on the first axis of [out, in] where they are outputs, on the second where inputs.
    const onRows = isFeedforward === site.fanInFanOut;
    const flat = reshape(scale, onRows ? [-1, 1] : [1, -1]);
    weights.set(`${site.name}.weight`, mul(site.weight, flat));
    flat.dispose();
    if (site.bias === null || isFeedforward) continue;
    const vector = reshape(scale, [-1]);
    weights.set(`${site.name}.bias`, mul(site.bias, vector));
    vector.dispose();
  }
  return weights;
}
