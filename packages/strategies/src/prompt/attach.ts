import { reshape, slice, split, transpose, type Tensor2D, type Tensor4D } from '@tensorflow/tfjs-core';
import type { LanguageModel } from '@whetstone/core/contract';

/**
 * Attaches `embeddings()` [virtualTokens, Σ 2·kvHeads·headDim] as prefixes of the attention layers. For each layer, it
 * contains the key, then the value, each as heads × headDim (PEFT's PREFIX_TUNING). Returns a function that detaches.
 */
export function attachPrefix(model: LanguageModel, embeddings: () => Tensor2D): () => void {
  let column = 0;
  for (const site of model.attentionSites) {
    const { keyValueHeads, headDim } = site;
    const start = column;
    const width = 2 * keyValueHeads * headDim;
    column += width;
    site.setPrefix(() => {
      const all = embeddings();
      const virtualTokens = all.shape[0];
      const layer = reshape(slice(all, [0, start], [virtualTokens, width]), [virtualTokens, 2, keyValueHeads, headDim]);
      const [key, value] = split(transpose(layer, [1, 2, 0, 3]), 2, 0) as [Tensor4D, Tensor4D];
      return { key, value };
    });
  }
  return () => {
    for (const site of model.attentionSites) site.setPrefix(null);
  };
}

/**
 * Inserts `prompt()` [virtualTokens, hidden] before every row (PEFT's PROMPT_TUNING). Returns a function that detaches.
 */
export function attachPrompt(model: LanguageModel, prompt: () => Tensor2D): () => void {
  model.embeddingSite.setPromptEmbeddings(prompt);
  return () => model.embeddingSite.setPromptEmbeddings(null);
}
