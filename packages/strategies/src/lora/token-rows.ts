import { add, keep, matMul, mul, tensor2d, tidy, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import {
  WhetstoneError,
  type LanguageModel,
  type LinearSiteOutline,
  type ModelOutline,
} from '@whetstone/core/contract';
import { rememberValue } from '../support/unfreeze.js';

/** Rows of the embedding or head that an adapter trains: PEFT's `trainable_token_indices`. */
export interface TokenRows {
  /** Path of the module, such as `model.embed_tokens` or `lm_head`. */
  readonly module: string;
  readonly ids: readonly number[];
  /** The values that replace the stored rows, [ids, hidden]. */
  readonly values: Tensor2D;
}

/** Returns the key of a module's rows in PEFT's file, without PEFT's prefix. */
export const tokenRowsKey = (module: string): string => `${module}.token_adapter.trainable_tokens_delta`;

/**
 * Returns the modules whose rows of the tokens are trained: the embedding, and the head if it is not tied, except those
 * that are trained completely.
 *
 * @throws `CONFIG_CONFLICT` if one of them is also adapted, or a tied head is trained completely: PEFT refuses both
 */
export function tokenModules(
  model: Pick<ModelOutline, 'linearSites' | 'parameters' | 'embeddingSite'>,
  ids: readonly number[],
  targets: readonly LinearSiteOutline[],
  saved: readonly string[],
): readonly string[] {
  if (ids.length === 0) return [];
  const head = [...model.linearSites.values()].find((site) => site.isOutput);
  const isTied = head === undefined || !model.parameters.has(`${head.name}.weight`);
  const modules = [model.embeddingSite.name, ...(isTied ? [] : [head.name])];
  if (isTied && head !== undefined && saved.includes(`${head.name}.weight`))
    throw new WhetstoneError('CONFIG_CONFLICT', `PEFT cannot save ${head.name} apart from rows of its embedding.`, {
      place: { path: 'strategy.options.modulesToSave' },
      found: `${ids.length} trained tokens (trainableTokenIndices, or model.addTokens) and a head that is tied`,
      hint: `Remove ${head.name} from modulesToSave, or add ${model.embeddingSite.name} to it.`,
    });
  const adapted = targets.find(({ name }) => modules.includes(name));
  if (adapted !== undefined)
    throw new WhetstoneError('CONFIG_CONFLICT', `PEFT cannot adapt ${adapted.name} and train some of its rows.`, {
      place: { path: 'strategy.options.targetModules' },
      found: `${ids.length} trained tokens (trainableTokenIndices, or model.addTokens)`,
      hint: `Remove ${adapted.name} from targetModules, or add it to modulesToSave instead.`,
    });
  return modules.filter((name) => !saved.includes(`${name}.weight`));
}

/** Creates `trainable_token_indices` of `adapter_config.json`: ids by the last segment of each module's path. */
export function describeTokenRows(
  modules: readonly string[],
  ids: readonly number[],
): { readonly [module: string]: readonly number[] } {
  return Object.fromEntries(modules.map((module) => [module.slice(module.lastIndexOf('.') + 1), ids]));
}

/** Replaces rows of a table [vocab, hidden] exactly; differentiable with respect to the new rows. */
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
    // Multiplying by 0 and 1 and adding 0 is exact.
    apply: (table, values) => add(mul(table, mask), matMul(selector, values)),
    dispose: () => {
      selector.dispose();
      mask.dispose();
    },
  };
}

/** Makes the embedding and head compute with the given rows. Returns a function that restores the stored rows. */
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

/** Returns the complete matrix of a module with the trained rows. The caller owns it. */
export function mergedTable(model: LanguageModel, { module, ids, values }: TokenRows): Tensor2D {
  const table = model.parameters.get(`${module}.weight`) ?? model.linearSites.get(module)?.weight;
  if (table === undefined) throw new WhetstoneError('INTERNAL', `The model has no parameter ${module}.weight.`);
  const replacer = replacerOf(table.shape[0] ?? 0, ids);
  try {
    return tidy(() => replacer.apply(table as Tensor as Tensor2D, values));
  } finally {
    replacer.dispose();
  }
}

/**
 * Writes the rows into the stored matrices, which is faster than replacing them in each forward pass. Returns a
 * function that restores the original rows.
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
