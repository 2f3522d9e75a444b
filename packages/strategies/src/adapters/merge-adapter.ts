import { clone, mul, reshape, type Tensor } from '@tensorflow/tfjs-core';
import { WhetstoneError, type LanguageModel } from '@whetstone/core/contract';
import { readLoraAdapter } from '../lora/from-peft.js';
import { mergedTable } from '../lora/token-rows.js';
import { loraVariants } from '../lora/variants/index.js';
import { configFile, type AdapterFiles } from './adapter-files.js';
import { peftTypeOf, readIa3Adapter } from './load-adapter.js';

/** Merged weights that differ from those of the base model, by parameter name. The caller owns the tensors. */
export interface MergedWeights {
  readonly weights: ReadonlyMap<string, Tensor>;
  /**
   * True if the head and the embedding no longer share a weight. Then both must be written, and `tie_word_embeddings`
   * must be false.
   */
  readonly untiesHead: boolean;
  dispose(): void;
}

/**
 * Computes the weights of the model merged with an adapter. The model does not change.
 *
 * @throws ADAPTER_INVALID if the adapter does not match the model, or cannot be merged (prefixes and prompts).
 */
export function mergeAdapter(model: LanguageModel, files: AdapterFiles): MergedWeights {
  const type = peftTypeOf(files);
  const rows = new Map<string, Tensor>();
  const weights = type === 'LORA' ? mergedLora(model, files, rows) : type === 'IA3' ? mergedIa3(model, files) : null;
  if (weights === null) {
    throw new WhetstoneError(
      'ADAPTER_INVALID',
      'A prefix or prompt cannot be merged, because it does not change weights.',
      {
        place: { file: configFile(files.folder), path: 'peft_type' },
        found: type,
        hint: 'Use the adapter unmerged with `whetstone chat` or `whetstone generate`.',
      },
    );
  }
  const tiedHead = [...model.linearSites.values()].find(
    (site) => site.isOutput && !model.parameters.has(`${site.name}.weight`),
  );
  const changes = (name: string): boolean => weights.has(`${name}.weight`);
  const untiesHead = tiedHead !== undefined && (changes(tiedHead.name) || changes(model.embeddingSite.name));
  if (untiesHead && !changes(tiedHead.name)) weights.set(`${tiedHead.name}.weight`, clone(tiedHead.weight));
  // If the head is tied, trained rows apply to both head and embedding, so the head remains tied.
  for (const [name, table] of rows) weights.set(name, table);
  return {
    weights,
    untiesHead,
    dispose: () => {
      for (const tensor of weights.values()) tensor.dispose();
    },
  };
}

/** Computes the weights merged with LoRA. @param rows Receives the matrices of which only some rows are trained. */
function mergedLora(model: LanguageModel, files: AdapterFiles, rows: Map<string, Tensor>): Map<string, Tensor> {
  const adapter = readLoraAdapter(model, files, loraVariants);
  for (const each of adapter.tokenRows) rows.set(`${each.module}.weight`, mergedTable(model, each));
  const weights = new Map<string, Tensor>(
    [...adapter.replaced].map(([name, tensor]) => [name, clone(tensor)] as const),
  );
  for (const layer of adapter.layers) weights.set(`${layer.site.name}.weight`, layer.merge());
  adapter.dispose();
  return weights;
}

/** Computes the weights merged with IA3. */
function mergedIa3(model: LanguageModel, files: AdapterFiles): Map<string, Tensor> {
  const weights = new Map<string, Tensor>();
  for (const { site, scale, isFeedforward } of readIa3Adapter(model, files)) {
    // In [out, in], output features are on the first axis and input features on the second.
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
