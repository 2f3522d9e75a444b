import { add, div, matMul, mul, norm, tidy, transpose, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import {
  defaultsOf,
  type Json,
  type LanguageModel,
  type LinearSite,
  type ModelOutline,
  type Problem,
  type AdapterFiles,
} from '@whetstone/core/contract';
import { createScalars, type Scalars } from '@whetstone/core/ops';
import {
  configFile,
  readFields,
  shapeProblem,
  tensorFile,
  throwProblems,
  type ConfigFields,
} from '../adapters/adapter-files.js';
import { refusedFields } from '../adapters/known-fields.js';
import { loraConfigSchema, rankAndScale, type LoraOptions } from './options.js';
import {
  assignBases,
  headKeptTied,
  savedNames,
  storeParameter,
  tiedHead,
  unknownModule,
  type SavedSelection,
  type StoredParameters,
} from './stored-parameters.js';
import { modulesOfFields } from './stored-targets.js';
import { mergedTable, tokenRowsKey, type TokenRows } from './token-rows.js';
import { tableProblem, withOneSize } from '../support/vocabulary-size.js';
import { createLayer, selectVariant } from './variants/index.js';
import type { LoraLayer, LoraVariant } from './variants/variant.js';
import { isRecord } from '@whetstone/core/util';

/** Prefix of every key in a PEFT adapter file. */
export const peftPrefix = 'base_model.model.';

/** Values of `init_lora_weights` with which PEFT leaves the base model as it is. */
const keepsBase = new Set(['gaussian', 'eva', 'orthogonal', 'mica']);

/** Returns a problem if the initialisation of the adapter changed the base model, as PiSSA does; null otherwise. */
function initialisationProblem(fields: ConfigFields, { folder }: AdapterFiles): Problem | null {
  const value = fields.raw('init_lora_weights');
  if (typeof value !== 'string' || keepsBase.has(value.toLowerCase())) return null;
  return {
    message:
      'The initialisation of the adapter changed the weights of the base model, which the adapter does not contain.',
    place: { file: configFile(folder), path: 'init_lora_weights' },
    expected: `true, false or one of ${[...keepsBase].join(', ')}`,
    found: value,
    hint:
      'Merge the adapter in PEFT, or save it there with path_initial_model_for_weight_conversion, which converts it ' +
      'to plain LoRA.',
  };
}

/** Where `adapter_config.json` contains the patterns, for errors. */
const storedPatterns = { rank: 'rank_pattern', alpha: 'alpha_pattern' };

/** Reads the options from `adapter_config.json` of a low-rank adapter. Adds unsupported fields to `fields.problems`. */
export function loraOptionsOf(fields: ConfigFields, files: AdapterFiles): LoraOptions {
  fields.problems.push(...refusedFields(fields, files));
  const changedBase = initialisationProblem(fields, files);
  if (changedBase !== null) fields.problems.push(changedBase);
  return {
    ...defaultsOf(loraConfigSchema),
    rank: fields.number('r', 8),
    alpha: fields.number('lora_alpha', 8),
    dropout: fields.number('lora_dropout', 0),
    targetModules: fields.stringOrStrings('target_modules') ?? [],
    excludeModules: fields.stringOrStrings('exclude_modules'),
    layersToTransform: layersOf(fields, files),
    layersPattern: fields.stringOrStrings('layers_pattern'),
    rankPattern: fields.numbersByName('rank_pattern'),
    alphaPattern: fields.numbersByName('alpha_pattern'),
    modulesToSave: fields.strings('modules_to_save'),
    trainableTokenIndices: tokenIndicesOf(fields),
    useRslora: fields.boolean('use_rslora', false),
    useDora: fields.boolean('use_dora', false),
    bias: biasOf(fields, files),
  };
}

/**
 * Returns the path of a key in an adapter's file, without PEFT's prefix and without the name of the adapter, which the
 * keys of a state dict contain (`lora_A.default.weight`).
 */
export const pathOfKey = (key: string): string =>
  (key.startsWith(peftPrefix) ? key.slice(peftPrefix.length) : key)
    .replace(/\.(lora_[AB])\.(?!weight$)[^.]+\.weight$/, '.$1.weight')
    .replace(/\.(lora_embedding_[AB]|lora_magnitude_vector)\.(?!weight$)[^.]+(\.weight)?$/, '.$1')
    .replace(/\.(trainable_tokens_delta|ia3_l)\.[^.]+$/, '.$1');

/** A LoRA adapter that was read for a model. */
export interface LoraAdapter {
  readonly options: LoraOptions;
  readonly layers: readonly LoraLayer[];
  /** Frozen weights that the file contains, by parameter name; the layers were created with them. */
  readonly bases: ReadonlyMap<string, Tensor>;
  /** Values that replace parameters of the model, by parameter name. */
  readonly replaced: ReadonlyMap<string, Tensor>;
  /** Replaced rows of the embedding and the head. */
  readonly tokenRows: readonly TokenRows[];
  /** Disposes tensors that were created for the adapter, but not those of the files. */
  dispose(): void;
}

/** The tensors of one module, by the ends of their names. */
type ModuleTensors = Map<string, Tensor>;

const embeddingEndings = ['lora_embedding_A', 'lora_embedding_B'] as const;

/** Splits a name into the module and the end of a tensor; `.weight` at the end is optional. Null if no end matches. */
export function splitName(
  name: string,
  endings: Iterable<string>,
): { readonly module: string; readonly ending: string } | null {
  const stem = name.replace(/\.weight$/, '');
  for (const ending of endings) {
    const suffix = `.${ending.replace(/\.weight$/, '')}`;
    if (stem.endsWith(suffix)) return { module: stem.slice(0, -suffix.length), ending };
  }
  return null;
}

/** Returns the ends of the names of all tensors that the variants have. */
export const endingsOf = (variants: readonly LoraVariant[]): Set<string> =>
  new Set(variants.flatMap(({ shapes }) => Object.keys(shapes)));

/** The tensors of an adapter, by what they adapt or replace. */
interface SortedTensors extends StoredParameters {
  readonly sites: Map<string, ModuleTensors>;
  /** Adapted tables: the embedding, and that of the positions. */
  readonly embeddings: Map<string, ModuleTensors>;
  readonly tokenRows: TokenRows[];
}

/** Returns whether a module is a table of rows, such as the embedding. */
const isTable = (model: Pick<ModelOutline, 'linearSites' | 'parameters'>, module: string): boolean =>
  !model.linearSites.has(module) && model.parameters.get(`${module}.weight`)?.shape.length === 2;

/** Sorts the tensors of an adapter. Adds a problem for each one that does not match the model. */
function sortTensors(
  model: LanguageModel,
  files: AdapterFiles,
  fields: ConfigFields,
  endings: readonly string[],
  selection: SavedSelection,
): SortedTensors {
  const sorted: SortedTensors = {
    sites: new Map(),
    embeddings: new Map(),
    bases: new Map(),
    replaced: new Map(),
    tokenRows: [],
  };
  const adapt = (key: string, module: string, ending: string, tensor: Tensor): void => {
    const isEmbedding = isTable(model, module);
    const isOfEmbedding = embeddingEndings.some((each) => each === ending);
    if (!isEmbedding && (isOfEmbedding || !model.linearSites.has(module)))
      return void fields.problems.push(unknownModule(key, files));
    const group = isEmbedding ? sorted.embeddings : sorted.sites;
    const tensors = group.get(module) ?? new Map<string, Tensor>();
    if (tensors.has(ending))
      fields.problems.push({
        message: 'The file contains several adapters.',
        place: { file: tensorFile(files.folder), tensor: key },
        hint: 'Save each adapter in a folder of its own.',
      });
    group.set(module, tensors.set(ending, tensor));
  };
  for (const [key, tensor] of files.tensors) {
    const path = pathOfKey(key);
    // PEFT also saves the untrained original of a module with biases.
    if (path.includes('.original_module.')) continue;
    if (path.endsWith(tokenRowsSuffix)) {
      const rows = tokenRowsOf(model, key, path.slice(0, -tokenRowsSuffix.length), tensor, fields, files);
      if (rows !== null) sorted.tokenRows.push(rows);
      continue;
    }
    const match = splitName(path, endings);
    if (match !== null) {
      adapt(key, match.module, match.ending, tensor);
      continue;
    }
    const problem = storeParameter(model, { key, path, tensor }, selection, files, sorted);
    if (problem !== null) fields.problems.push(problem);
  }
  return sorted;
}

/**
 * Reads a low-rank adapter for a model. The keys of the tensors determine the adapted layers. Ranks must agree with the
 * configuration.
 *
 * @throws `ADAPTER_INVALID` if tensors are unknown, missing or misshapen; lists all of them
 */
export function readLoraAdapter(
  model: LanguageModel,
  files: AdapterFiles,
  variants: readonly LoraVariant[],
): LoraAdapter {
  const fields = readFields(files);
  const { problems } = fields;
  const type = fields.stringOrNull('peft_type');
  const ofType = variants.filter(({ peftType }) => peftType === type);
  const options = loraOptionsOf(fields, files);
  const endings = [...endingsOf(ofType), ...embeddingEndings];
  const selection = savedSelectionOf(fields);
  const sorted = sortTensors(model, files, fields, endings, selection);
  if (sorted.sites.size === 0 && sorted.embeddings.size === 0 && sorted.tokenRows.length === 0)
    problems.push({
      message: 'The file contains no LoRA tensors.',
      place: { file: tensorFile(files.folder) },
      expected: `keys such as ${peftPrefix}<module>.${endings[0] ?? ''}`,
    });
  const adapted = [...sorted.sites.keys(), ...sorted.embeddings.keys()];
  problems.push(
    ...selectionProblems(model, options, selection, adapted, endings, files),
    ...missingParameters(model, selection, sorted, files),
  );
  throwProblems(withOneSize(problems), files);
  const restore = assignBases(model, sorted.bases);
  try {
    return createAdapter(model, sorted, options, selectVariant(options, ofType), files);
  } finally {
    restore();
  }
}

/** Returns what decides which parameters an adapter trains completely. */
export const savedSelectionOf = (fields: ConfigFields): SavedSelection => ({
  modulesToSave: fields.strings('modules_to_save') ?? [],
  keepsTie: fields.boolean('ensure_weight_tying', false),
});

/** Returns a problem for each parameter that the configuration trains completely and that the file lacks. */
export function missingParameters(
  model: LanguageModel,
  selection: SavedSelection,
  { replaced }: StoredParameters,
  files: AdapterFiles,
): Problem[] {
  return savedNames(model, selection)
    .filter((name) => !replaced.has(name))
    .map((name) => ({
      message: 'A tensor is missing: modules_to_save selects this module.',
      place: { file: tensorFile(files.folder), tensor: peftPrefix + name },
    }));
}

/** Creates the layers of an adapter, with the frozen weights of its file in the model. */
function createAdapter(
  model: LanguageModel,
  { sites, embeddings, bases, replaced, tokenRows }: SortedTensors,
  options: LoraOptions,
  variant: LoraVariant,
  files: AdapterFiles,
): LoraAdapter {
  const problems: Problem[] = [];
  const scalars = createScalars();
  const layers: LoraLayer[] = [];
  const made: Tensor[] = [];
  const replace = (name: string, value: Tensor): void => {
    made.push(value);
    replaced.set(name, value);
  };
  for (const [name, tensors] of sites) {
    const site = model.linearSites.get(name);
    if (site === undefined) continue;
    const layer = readLayer(model, site, tensors, variant, options, scalars, files, problems);
    if (layer !== null) layers.push(layer);
  }
  for (const [name, tensors] of embeddings) {
    const merged = mergedEmbedding(model, name, tensors, options, files, problems);
    if (merged !== null) replace(`${name}.weight`, merged);
  }
  // Rows of a tied head apply to the head only, so that it is no longer tied.
  const untied = tokenRows.some(({ module }) => module === tiedHead(model));
  if (untied) for (const rows of tokenRows) replace(`${rows.module}.weight`, mergedTable(model, rows));
  const dispose = (): void => {
    for (const each of [...layers, ...made, scalars]) each.dispose();
  };
  if (problems.length > 0) dispose();
  throwProblems(withOneSize(problems), files);
  return { options, layers, bases, replaced, tokenRows: untied ? [] : tokenRows, dispose };
}

/**
 * Compares the adapted modules of the file with those that PEFT selects with the configuration. PEFT would ignore the
 * tensors of other modules, and would leave modules without tensors untrained.
 */
function selectionProblems(
  model: LanguageModel,
  options: LoraOptions,
  selection: SavedSelection,
  adapted: readonly string[],
  endings: readonly string[],
  files: AdapterFiles,
): Problem[] {
  const fields = modulesOfFields(model, options);
  if (fields === null) return [];
  const head = headKeptTied(model, selection);
  const selected = head !== null && fields.has(model.embeddingSite.name) ? new Set([...fields, head]) : fields;
  const keyOf = (module: string): string =>
    `${peftPrefix}${module}.${isTable(model, module) ? embeddingEndings[0] : (endings[0] ?? '')}`;
  return [
    ...[...selected]
      .filter((module) => !adapted.includes(module))
      .map((module) => ({
        message: 'A tensor is missing: the configuration selects this module.',
        place: { file: tensorFile(files.folder), tensor: keyOf(module) },
      })),
    ...adapted
      .filter((module) => !selected.has(module))
      .map((module) => ({
        message: 'The configuration does not select this module, so that PEFT would ignore its tensors.',
        place: { file: tensorFile(files.folder), tensor: keyOf(module) },
        hint: 'Correct target_modules, exclude_modules or layers_to_transform in adapter_config.json.',
      })),
  ];
}

const tokenRowsSuffix = tokenRowsKey('');

/** Returns the layers of `layers_to_transform`: a number or a list of numbers. Adds a problem if it is neither. */
function layersOf(fields: ConfigFields, files: AdapterFiles): LoraOptions['layersToTransform'] {
  const written = fields.raw('layers_to_transform') ?? null;
  const isLayer = (value: unknown): value is number => Number.isInteger(value);
  if (written === null || isLayer(written)) return written;
  if (Array.isArray(written) && written.every(isLayer)) return written;
  fields.problems.push(invalidField('layers_to_transform', 'an integer, a list of integers or null', written, files));
  return null;
}

/** Returns which biases the adapter trains. Adds a problem for a value that PEFT does not have. */
function biasOf(fields: ConfigFields, files: AdapterFiles): LoraOptions['bias'] {
  const written = fields.stringOrNull('bias') ?? 'none';
  if (written === 'none' || written === 'all' || written === 'lora_only') return written;
  fields.problems.push(invalidField('bias', 'none, all or lora_only', written, files));
  return 'none';
}

const invalidField = (key: string, expected: string, found: Json, { folder }: AdapterFiles): Problem => ({
  message: `${key} has an invalid value.`,
  place: { file: configFile(folder), path: key },
  expected,
  found: JSON.stringify(found),
});

/** Returns the tokens of `trainable_token_indices`; null if there are none or if modules have different ones. */
function tokenIndicesOf(fields: ConfigFields): readonly number[] | null {
  const written = fields.raw('trainable_token_indices');
  if (written === null || written === undefined) return null;
  const lists = Array.isArray(written) ? [written] : Object.values(written as Readonly<Record<string, Json>>);
  const areEqual = lists.every((list) => Array.isArray(list) && JSON.stringify(list) === JSON.stringify(lists[0]));
  return areEqual && lists.length > 0 ? (lists[0] as readonly number[]) : null;
}

/**
 * Returns the trained rows of a module. `trainable_token_indices` is a list of tokens, or a list per module, named by
 * the end of its path. Returns null and adds a problem if rows and tokens do not match.
 */
function tokenRowsOf(
  model: LanguageModel,
  key: string,
  module: string,
  tensor: Tensor,
  fields: ConfigFields,
  files: AdapterFiles,
): TokenRows | null {
  const written = fields.raw('trainable_token_indices');
  const byModule = isRecord(written)
    ? (written as Readonly<Record<string, unknown>>)
    : { [module.slice(module.lastIndexOf('.') + 1)]: written };
  const ids = Object.entries(byModule).find(([name]) => module === name || module.endsWith(`.${name}`))?.[1];
  const table =
    model.parameters.get(`${module}.weight`) ?? (module === tiedHead(model) ? model.embeddingSite.weight : undefined);
  const isIds = (value: unknown): value is readonly number[] =>
    Array.isArray(value) && value.every((id) => Number.isInteger(id) && (id as number) >= 0);
  if (table === undefined || !isIds(ids)) {
    fields.problems.push({
      message:
        table === undefined
          ? 'The model lacks this module.'
          : 'trainable_token_indices does not list the tokens of these rows.',
      place: { file: table === undefined ? tensorFile(files.folder) : configFile(files.folder), tensor: key },
    });
    return null;
  }
  const beyond = ids.find((id) => id >= model.vocabularySize);
  const problem =
    beyond === undefined
      ? shapeProblem(key, tensor, [ids.length, model.hiddenSize], files)
      : {
          message: 'The adapter has tokens that the model lacks.',
          place: { file: configFile(files.folder), path: 'trainable_token_indices' },
          expected: `ids below ${model.vocabularySize}`,
          found: String(beyond),
          hint: "Load the model with the adapter's tokenizer (model.addTokens).",
        };
  if (problem === null) return { module, ids, values: tensor as Tensor2D };
  fields.problems.push(problem);
  return null;
}

/** Creates a layer from the tensors of its file; returns null and adds problems if they are missing or misshapen. */
function readLayer(
  model: LanguageModel,
  site: LinearSite,
  tensors: ModuleTensors,
  variant: LoraVariant,
  options: LoraOptions,
  scalars: Scalars,
  files: AdapterFiles,
  problems: Problem[],
): LoraLayer | null {
  const size = rankAndScale(site.name, options, storedPatterns);
  const found = checkTensors(
    model,
    site.name,
    Object.entries(variant.shapes).map(([ending, shapeOf]) => [
      `${peftPrefix}${site.name}.${ending}`,
      tensors.get(ending),
      shapeOf(site, size.rank),
    ]),
    files,
  );
  problems.push(...found);
  if (found.length > 0) return null;
  return createLayer(variant, scalars, {
    site,
    ...size,
    initLoraWeights: options.initLoraWeights,
    seed: 0,
    tensor: <T extends Tensor>(ending: string) => tensors.get(ending) as T,
  });
}

function checkTensors(
  model: LanguageModel,
  module: string,
  expected: readonly (readonly [string, Tensor | undefined, readonly number[]])[],
  files: AdapterFiles,
): Problem[] {
  return expected.flatMap(([key, tensor, shape]): readonly Problem[] => {
    if (tensor === undefined)
      return [
        {
          message: 'A tensor is missing.',
          place: { file: tensorFile(files.folder), tensor: key },
          expected: `[${shape.join(', ')}]`,
        },
      ];
    const problem = tableProblem(model, { module, key, tensor, expected: shape }, files);
    return problem === null ? [] : [problem];
  });
}

/**
 * Computes W + s·(B·A)ᵀ for an adapted table: A is [rank, rows], B is [hidden, rank].
 */
function mergedEmbedding(
  model: LanguageModel,
  name: string,
  tensors: ModuleTensors,
  options: LoraOptions,
  files: AdapterFiles,
  problems: Problem[],
): Tensor | null {
  const { rank, scale } = rankAndScale(name, options, storedPatterns);
  const weight = model.parameters.get(`${name}.weight`) ?? model.embeddingSite.weight;
  const [rows = 0, hidden = 0] = weight.shape;
  const [a, b] = embeddingEndings.map((ending) => tensors.get(ending));
  const found = checkTensors(
    model,
    name,
    [
      [`${peftPrefix}${name}.lora_embedding_A`, a, [rank, rows]],
      [`${peftPrefix}${name}.lora_embedding_B`, b, [hidden, rank]],
      ...(options.useDora
        ? [[`${peftPrefix}${name}.lora_magnitude_vector`, tensors.get('lora_magnitude_vector'), [hidden]] as const]
        : []),
    ],
    files,
  );
  problems.push(...found);
  if (found.length > 0 || a === undefined || b === undefined) return null;
  const magnitude = tensors.get('lora_magnitude_vector');
  return tidy(() => {
    const merged = add<Tensor2D>(weight, mul(transpose(matMul(b as Tensor2D, a as Tensor2D)), scale));
    // PEFT's magnitudes of an embedding are the norms of the features, over the vocabulary.
    return magnitude === undefined ? merged : mul<Tensor2D>(merged, div(magnitude, norm(merged, 'euclidean', 0)));
  });
}
