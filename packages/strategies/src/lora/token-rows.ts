import { add, keep, matMul, mul, tensor2d, tidy, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { WhetstoneError, type LanguageModel, type ModelOutline } from '@whetstone/core/contract';
import { rememberValue } from '../support/unfreeze.js';

/** Rows of an embedding, or of a head, that an adapter trains: PEFT's `trainable_token_indices`. */
export interface TokenRows {
  /** The module, as `model.embed_tokens` or `lm_head`. */
  readonly module: string;
  readonly ids: readonly number[];
  /** [ids, hidden]; what stands in the place of the stored rows. */
  readonly values: Tensor2D;
}

/** Key of the rows of a module in PEFT's file, after its prefix. */
export const tokenRowsKey = (module: string): string => `${module}.token_adapter.trainable_tokens_delta`;

/** Modules whose rows of a token are its own: the embedding, and the head where it is another matrix. */
export function tokenModules(
  model: Pick<ModelOutline, 'linearSites' | 'parameters' | 'embeddingSite'>,
): readonly string[] {
  const head = [...model.linearSites.values()].find((site) => site.isOutput);
  const isTied = head === undefined || !model.parameters.has(`${head.name}.weight`);
  return [model.embeddingSite.name, ...(isTied ? [] : [head.name])];
}

/** `trainable_token_indices` of `adapter_config.json`: ids by the last part of each module's path. */
export function describeTokenRows(
  modules: readonly string[],
  ids: readonly number[],
): { readonly [module: string]: readonly number[] } {
  return Object.fromEntries(modules.map((module) => [module.slice(module.lastIndexOf('.') + 1), ids]));
}

/** The table [vocabulary, hidden] with other rows, exactly: differentiable with respect to them. */
interface RowReplacer {
  apply(table: Tensor2D, values: Tensor2D): Tensor2D;
  dispose(): void;
}

function replacerOf(vocabulary: number, ids: readonly number[]): RowReplacer {
  const chosen = new Float32Array(vocabulary * ids.length);
  const kept = new Float32Array(vocabulary).fill(1);
  for (const [index, id] of ids.entries()) {
    chosen[id * ids.length + index] = 1;
    kept[id] = 0;
  }
  const [selector, mask] = [keep(tensor2d(chosen, [vocabulary, ids.length])), keep(tensor2d(kept, [vocabulary, 1]))];
  return {
    // A product with ones and zeros and a sum with zeros round nothing.
    apply: (table, values) => add(mul(table, mask), matMul(selector, values)),
    dispose: () => {
      selector.dispose();
      mask.dispose();
    },
  };
}

/**
 * Computes with trained rows in the place of the stored ones, in embedding and head. The result takes them off again.
 */
export function attachTokenRows(model: LanguageModel, rows: readonly TokenRows[]): () => void {
  const undo: (() => void)[] = [];
  const head = [...model.linearSites.values()].find((site) => site.isOutput);
  const { embeddingSite } = model;
  for (const { module, ids, values } of rows) {
    if (module === embeddingSite.name) {
      embeddingSite.setRows({ ids, values: () => values });
      undo.push(() => embeddingSite.setRows(null));
    }
    const isHead =
      head !== undefined &&
      (module === head.name || (module === embeddingSite.name && head.weight === embeddingSite.weight));
    if (!isHead) continue;
    const replacer = replacerOf(model.vocabularySize, ids);
    undo.push(replacer.dispose);
    undo.push(head.replaceWeight(() => replacer.apply(head.weight as Tensor as Tensor2D, values)));
  }
  return () => {
    for (const step of undo.reverse()) step();
  };
}

/** The module's whole matrix with the trained rows in it. The caller owns it. */
export function mergedTable(model: LanguageModel, { module, ids, values }: TokenRows): Tensor2D {
  const table = model.parameters.get(`${module}.weight`);
  if (table === undefined) throw new WhetstoneError('INTERNAL', `No parameter ${module}.weight.`);
  const replacer = replacerOf(table.shape[0] ?? 0, ids);
  try {
    return tidy(() => replacer.apply(table as Tensor as Tensor2D, values));
  } finally {
    replacer.dispose();
  }
}

/**
 * Writes the rows into the stored matrices, so that nothing is computed anew at each token; the result puts the old
 * ones back.
 */
export function storeTokenRows(model: LanguageModel, rows: readonly TokenRows[]): () => void {
  const undo = rows.flatMap((each) => {
    const table = model.parameters.get(`${each.module}.weight`);
    if (table === undefined) return [];
    const { restore } = rememberValue(table);
    const merged = mergedTable(model, each);
    table.assign(merged as unknown as ReturnType<typeof table.clone>);
    merged.dispose();
    return [restore];
  });
  return () => {
    for (const step of undo.reverse()) step();
  };
}
