import type { Tensor } from '@tensorflow/tfjs-core';
import type { AdapterFiles, LanguageModel, ModelOutline, Problem } from '@whetstone/core/contract';
import { tensorFile } from '../adapters/adapter-files.js';
import { assignCopy, rememberValue } from '../support/unfreeze.js';
import { tableProblem } from '../support/vocabulary-size.js';

/** Complete parameters of the model that an adapter's file contains, by parameter name. */
export interface StoredParameters {
  /** Frozen weights that PEFT saved with the adapter, such as that of an adapted head. They replace the model's. */
  readonly bases: Map<string, Tensor>;
  /** Trained parameters: those of `modules_to_save`, and biases. */
  readonly replaced: Map<string, Tensor>;
}

/** What decides whether a stored parameter was trained. */
export interface SavedSelection {
  readonly modulesToSave: readonly string[];
  /** Whether PEFT trains a tied head together with the embedding (`ensure_weight_tying`). */
  readonly keepsTie: boolean;
}

type Modules = Pick<ModelOutline, 'linearSites' | 'parameters'> & { readonly embeddingSite: { readonly name: string } };

/** Returns the name of the head if it shares the weight of the embedding; null otherwise. */
export function tiedHead({ linearSites, parameters }: Modules): string | null {
  const head = [...linearSites.values()].find((site) => site.isOutput);
  return head === undefined || parameters.has(`${head.name}.weight`) ? null : head.name;
}

/** The names of embeddings whose tie with the head PEFT keeps (`ensure_weight_tying`). */
const tiedByName = /(^|\.)(embed_tokens|lm_head)$/;

/** Returns the name of the head if PEFT keeps it tied with the embedding while both are trained; null otherwise. */
export const headKeptTied = (model: Modules, { keepsTie }: Pick<SavedSelection, 'keepsTie'>): string | null =>
  keepsTie && tiedByName.test(model.embeddingSite.name) ? tiedHead(model) : null;

/**
 * Returns whether PEFT trains a module completely: one whose path, or that of a module around it, ends with a name of
 * `modules_to_save`.
 */
export function isSaved(model: Modules, module: string, selection: SavedSelection): boolean {
  const { modulesToSave } = selection;
  const segments = module.split('.');
  const paths = segments.map((_, index) => segments.slice(0, index + 1).join('.'));
  if (modulesToSave.some((name) => paths.some((path) => path.endsWith(name)))) return true;
  const head = headKeptTied(model, selection);
  const tied = head === null ? [] : [head, model.embeddingSite.name];
  return tied.includes(module) && tied.some((one) => isSaved(model, one, { modulesToSave, keepsTie: false }));
}

/** Returns the parameters that PEFT saves for `modules_to_save`, including the weight of a tied head. */
export function savedNames(model: Modules, selection: SavedSelection): string[] {
  const head = tiedHead(model);
  return [...model.parameters.keys(), ...(head === null ? [] : [`${head}.weight`])].filter((name) =>
    isSaved(model, name.replace(/\.[^.]*$/, ''), selection),
  );
}

/**
 * Adds a tensor of an adapter's file to the parameters that it replaces. Returns a problem if the model lacks the
 * parameter, or if the tensor has another shape.
 *
 * @param path the key of the tensor without PEFT's prefix
 */
export function storeParameter(
  model: LanguageModel,
  { key, path, tensor }: { readonly key: string; readonly path: string; readonly tensor: Tensor },
  selection: SavedSelection,
  files: AdapterFiles,
  into: StoredParameters,
): Problem | null {
  const parameter = parameterOf(model, path);
  if (parameter === null) return unknownModule(key, files);
  const { name, shape } = parameter;
  const module = name.replace(/\.[^.]*$/, '');
  const problem = tableProblem(model, { module, key, tensor, expected: shape }, files);
  if (problem !== null) return problem;
  const isTrained = path.includes('.modules_to_save.') || name.endsWith('.bias') || isSaved(model, module, selection);
  // PEFT reads a frozen weight into the parameter, which a tied head shares with the embedding.
  if (isTrained) into.replaced.set(name, tensor);
  else into.bases.set(module === tiedHead(model) ? `${model.embeddingSite.name}.weight` : name, tensor);
  return null;
}

/** Returns the parameter, or the weight of the tied head, to which a key of a saved module, weight or bias refers. */
function parameterOf(
  model: LanguageModel,
  path: string,
): { readonly name: string; readonly shape: readonly number[] } | null {
  const plain = path.replace(/(\.token_adapter)?\.base_layer\./, '.');
  // In a state dict, the name of the adapter follows.
  for (const name of [plain.replace('.modules_to_save.', '.'), plain.replace(/\.modules_to_save\.[^.]+\./, '.')]) {
    const stored = model.parameters.get(name);
    if (stored !== undefined) return { name, shape: stored.shape };
    const site = name.endsWith('.weight') ? model.linearSites.get(name.slice(0, -'.weight'.length)) : undefined;
    if (site !== undefined) return { name, shape: site.weight.shape };
  }
  return null;
}

export const unknownModule = (key: string, { folder }: AdapterFiles): Problem => ({
  message: 'The model lacks this module.',
  place: { file: tensorFile(folder), tensor: key },
});

/** Puts frozen weights of an adapter's file into the model. Returns a function that restores those of the model. */
export function assignBases(model: LanguageModel, bases: ReadonlyMap<string, Tensor>): () => void {
  const undo: (() => void)[] = [];
  for (const [name, value] of bases) {
    const parameter = model.parameters.get(name);
    if (parameter === undefined) continue;
    undo.push(rememberValue(parameter).restore);
    assignCopy(parameter, value);
  }
  return () => {
    for (const step of undo.reverse()) step();
  };
}
