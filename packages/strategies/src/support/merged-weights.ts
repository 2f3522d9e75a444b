import { clone, type Tensor } from '@tensorflow/tfjs-core';
import type { LanguageModel } from '@whetstone/core/contract';

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

/** Returns the name of the head's weight if the head shares the weight of the embedding, otherwise null. */
function tiedHeadWeight(model: LanguageModel): string | null {
  const head = [...model.linearSites.values()].find((site) => site.isOutput);
  const name = `${head?.name ?? ''}.weight`;
  return head === undefined || model.parameters.has(name) ? null : name;
}

/** Adds the stored weight of a tied head if the weights contain only the embedding with which it shares its weight. */
export function withHeadOf(model: LanguageModel, weights: Map<string, Tensor>): Map<string, Tensor> {
  const head = tiedHeadWeight(model);
  if (head === null || weights.has(head) || !weights.has(`${model.embeddingSite.name}.weight`)) return weights;
  return weights.set(head, clone(model.embeddingSite.weight));
}

/** Returns the merged weights of a model with their owner, and what they mean for a tied head. */
export function mergedWeights(model: LanguageModel, weights: ReadonlyMap<string, Tensor>): MergedWeights {
  const head = tiedHeadWeight(model);
  return {
    weights,
    untiesHead: head !== null && weights.has(head),
    dispose: () => {
      for (const tensor of weights.values()) tensor.dispose();
    },
  };
}
