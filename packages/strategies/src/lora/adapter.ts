import { clone, type Tensor } from '@tensorflow/tfjs-core';
import type { AdapterFiles, LanguageModel, PreparedAdapter } from '@whetstone/core/contract';
import { withHeadOf } from '../support/merged-weights.js';
import { assignCopy } from '../support/unfreeze.js';
import { readLoraAdapter } from './from-peft.js';
import { borrowParameters } from './saved-modules.js';
import { assignBases } from './stored-parameters.js';
import { mergedTable, storeTokenRows } from './token-rows.js';
import { loraVariants } from './variants/index.js';
import type { LoraVariant } from './variants/variant.js';

/** Reads a low-rank adapter for a model. @throws `ADAPTER_INVALID` if it does not match the model */
export function prepareLora(
  model: LanguageModel,
  files: AdapterFiles,
  variants: readonly LoraVariant[] = loraVariants,
): PreparedAdapter {
  const adapter = readLoraAdapter(model, files, variants);
  return {
    dispose: adapter.dispose,
    attach: () => {
      const undo = [assignBases(model, adapter.bases)];
      undo.push(...adapter.layers.map((layer) => layer.site.wrap((base) => layer.forward(base, null))));
      const borrowed = borrowParameters(model, [...adapter.replaced.keys()], false);
      for (const [name, parameter] of borrowed.parameters) {
        const value = adapter.replaced.get(name);
        if (value !== undefined) assignCopy(parameter, value);
      }
      undo.push(borrowed.dispose, storeTokenRows(model, adapter.tokenRows));
      return () => {
        for (const step of undo.reverse()) step();
      };
    },
  };
}

/** Computes the weights merged with a low-rank adapter. @throws `ADAPTER_INVALID` if it does not match the model */
export function mergeLora(
  model: LanguageModel,
  files: AdapterFiles,
  variants: readonly LoraVariant[] = loraVariants,
): Map<string, Tensor> {
  const adapter = readLoraAdapter(model, files, variants);
  const restore = assignBases(model, adapter.bases);
  try {
    const weights = new Map<string, Tensor>();
    for (const [name, tensor] of adapter.replaced) weights.set(name, clone(tensor));
    for (const layer of adapter.layers) weights.set(`${layer.site.name}.weight`, layer.merge());
    const merged = withHeadOf(model, weights);
    // If the head is tied, trained rows apply to both head and embedding, so the head remains tied.
    for (const rows of adapter.tokenRows) merged.set(`${rows.module}.weight`, mergedTable(model, rows));
    for (const [name, tensor] of adapter.bases) if (!merged.has(name)) merged.set(name, clone(tensor));
    return merged;
  } finally {
    restore();
    adapter.dispose();
  }
}
