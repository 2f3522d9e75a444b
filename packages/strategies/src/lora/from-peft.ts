import {
  scalar,
  tidy,
  add,
  matMul,
  mul,
  transpose,
  type Scalar,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import type { Json, LanguageModel, LinearSite, Problem } from '@whetstone/core/contract';
import {
  configFile,
  readFields,
  shapeProblem,
  tensorFile,
  throwProblems,
  type AdapterFiles,
  type ConfigFields,
} from '../adapters/adapter-files.js';
import { squaresByOutput, type LoraLayer } from './layer.js';
import { tokenRowsKey, type TokenRows } from './token-rows.js';
import { defaultLoraOptions, loraScale, valueByPattern, type LoraOptions } from './options.js';
import { isRecord } from '@whetstone/core/util';

/** Prefix of every key in a PEFT adapter file. */
export const peftPrefix = 'base_model.model.';

/** Fields of unsupported LoRA variants; they are accepted only if they are off. */
const unsupported = [
  'lora_bias',
  'use_qalora',
  'layer_replication',
  'target_parameters',
  'alora_invocation_tokens',
  'arrow_config',
  'use_bdlora',
  'kasa_config',
  'velora_config',
  'monteclora_config',
  'ensure_weight_tying',
] as const;
const isOff = (value: unknown): boolean =>
  value === undefined || value === null || value === false || (Array.isArray(value) && value.length === 0);

/** Reads the options from `adapter_config.json` of type LORA. Adds unsupported fields to `fields.problems`. */
export function loraOptionsOf(fields: ConfigFields, files: AdapterFiles): LoraOptions {
  for (const key of unsupported) {
    if (!isOff(fields.raw(key)))
      fields.problems.push({
        message: `${key} is not supported.`,
        place: { file: configFile(files.folder), path: key },
        found: JSON.stringify(fields.raw(key)),
      });
  }
  const bias = fields.stringOrNull('bias') ?? 'none';
  return {
    ...defaultLoraOptions,
    rank: fields.number('r', 8),
    alpha: fields.number('lora_alpha', 8),
    dropout: fields.number('lora_dropout', 0),
    targetModules: fields.stringOrStrings('target_modules') ?? [],
    excludeModules: fields.stringOrStrings('exclude_modules'),
    rankPattern: fields.numbersByName('rank_pattern'),
    alphaPattern: fields.numbersByName('alpha_pattern'),
    modulesToSave: fields.strings('modules_to_save'),
    trainableTokenIndices: tokenIndicesOf(fields),
    useRslora: fields.boolean('use_rslora', false),
    useDora: fields.boolean('use_dora', false),
    bias: bias === 'all' || bias === 'lora_only' ? bias : 'none',
  };
}

/** A LoRA adapter that was read for a model. */
export interface LoraAdapter {
  readonly options: LoraOptions;
  readonly layers: readonly LoraLayer[];
  /** Values that replace parameters of the model, by parameter name. */
  readonly replaced: ReadonlyMap<string, Tensor>;
  /** Replaced rows of the embedding and the head. */
  readonly tokenRows: readonly TokenRows[];
  /** Disposes tensors that were created for the adapter, but not those of the files. */
  dispose(): void;
}

interface LoraTensors {
  a?: Tensor;
  b?: Tensor;
  magnitude?: Tensor;
}

/** Matches a key of the file: the module and the kind of tensor. */
const keyPattern = /^(.*)\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(?:\.weight)?$/;

/**
 * Reads a LoRA adapter for a model. The keys of the tensors determine the adapted layers. Ranks must agree with the
 * configuration.
 *
 * @throws ADAPTER_INVALID if tensors are unknown, missing or misshapen; lists all of them.
 */
export function readLoraAdapter(model: LanguageModel, files: AdapterFiles): LoraAdapter {
  const fields = readFields(files);
  const options = loraOptionsOf(fields, files);
  const { problems } = fields;
  const sites = new Map<string, LoraTensors>();
  const embeddings = new Map<string, LoraTensors>();
  const replaced = new Map<string, Tensor>();
  const made: Tensor[] = [];
  const tokenRows: TokenRows[] = [];

  for (const [key, tensor] of files.tensors) {
    const path = key.startsWith(peftPrefix) ? key.slice(peftPrefix.length) : key;
    // PEFT also saves the untrained original of a module with biases.
    if (path.includes('.original_module.')) continue;
    if (path.endsWith(tokenRowsSuffix)) {
      const rows = tokenRowsOf(model, key, path.slice(0, -tokenRowsSuffix.length), tensor, fields, files);
      if (rows !== null) tokenRows.push(rows);
      continue;
    }
    const match = keyPattern.exec(path);
    const parameter = parameterOf(model, path);
    if (match === null && parameter !== null) {
      const problem = shapeProblem(key, tensor, parameter.shape, files);
      if (problem !== null) problems.push(problem);
      replaced.set(parameter.name, tensor);
      continue;
    }
    const [, module = '', kind = ''] = match ?? [];
    const isEmbedding = kind.startsWith('lora_embedding');
    if (match === null || !(isEmbedding ? module === model.embeddingSite.name : model.linearSites.has(module))) {
      problems.push({
        message: 'The model lacks this module.',
        place: { file: tensorFile(files.folder), tensor: key },
      });
      continue;
    }
    const group = isEmbedding ? embeddings : sites;
    const tensors = group.get(module) ?? {};
    group.set(module, tensors);
    if (kind.endsWith('_A')) tensors.a = tensor;
    else if (kind.endsWith('_B')) tensors.b = tensor;
    else tensors.magnitude = tensor;
  }
  if (sites.size === 0 && embeddings.size === 0 && tokenRows.length === 0)
    problems.push({
      message: 'The file contains no LoRA tensors.',
      place: { file: tensorFile(files.folder) },
      expected: `keys such as ${peftPrefix}<module>.lora_A.weight`,
    });
  throwProblems(problems, files);

  const scales = new Map<number, Scalar>();
  const scaleTensorOf = (scale: number): Scalar | null => {
    if (scale === 1) return null;
    const tensor = scales.get(scale) ?? scalar(scale);
    scales.set(scale, tensor);
    return tensor;
  };
  const layers: LoraLayer[] = [];
  for (const [name, tensors] of sites) {
    const site = model.linearSites.get(name);
    if (site === undefined) continue;
    const layer = layerOf(site, tensors, options, files, problems);
    if (layer === null) continue;
    if (layer.dora !== null) made.push(layer.dora.weightSquares);
    layers.push({ ...layer, scaleTensor: scaleTensorOf(layer.scale) });
  }
  for (const [name, tensors] of embeddings) {
    const merged = mergedEmbedding(model, name, replaced.get(`${name}.weight`), tensors, options, files, problems);
    if (merged === null) continue;
    made.push(merged);
    replaced.set(`${name}.weight`, merged);
  }
  const dispose = (): void => {
    for (const tensor of [...made, ...scales.values()]) tensor.dispose();
  };
  if (problems.length > 0) dispose();
  throwProblems(problems, files);
  return { options, layers, replaced, tokenRows, dispose };
}

const tokenRowsSuffix = tokenRowsKey('');

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
  const table = model.parameters.get(`${module}.weight`);
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

/** Returns the parameter, or the weight of the tied head, to which a key of a saved module or bias refers. */
function parameterOf(
  model: LanguageModel,
  path: string,
): { readonly name: string; readonly shape: readonly number[] } | null {
  const name = path.replace('.base_layer.', '.').replace(/\.modules_to_save(\.default)?\./, '.');
  const stored = model.parameters.get(name);
  if (stored !== undefined) return { name, shape: stored.shape };
  const site = name.endsWith('.weight') ? model.linearSites.get(name.slice(0, -'.weight'.length)) : undefined;
  return site === undefined ? null : { name, shape: site.weight.shape };
}

function rankAndScale(name: string, options: LoraOptions): { readonly rank: number; readonly scale: number } {
  const rank = valueByPattern(options.rankPattern, name, options.rank, 'rank_pattern');
  const alpha = valueByPattern(options.alphaPattern, name, options.alpha, 'alpha_pattern');
  return { rank, scale: loraScale(alpha, rank, options.useRslora) };
}

/** Creates a layer from its tensors; returns null and adds problems if they are missing or misshapen. */
function layerOf(
  site: LinearSite,
  tensors: LoraTensors,
  options: LoraOptions,
  files: AdapterFiles,
  problems: Problem[],
): LoraLayer | null {
  const { rank, scale } = rankAndScale(site.name, options);
  const key = (ending: string): string => `${peftPrefix}${site.name}.${ending}`;
  const expected: [string, Tensor | undefined, readonly number[]][] = [
    [key('lora_A.weight'), tensors.a, [rank, site.inFeatures]],
    [key('lora_B.weight'), tensors.b, [site.outFeatures, rank]],
    ...(options.useDora
      ? [
          [key('lora_magnitude_vector'), tensors.magnitude, [site.outFeatures]] as [
            string,
            Tensor | undefined,
            readonly number[],
          ],
        ]
      : []),
  ];
  const found = checkTensors(expected, files);
  problems.push(...found);
  const { a, b, magnitude } = tensors;
  if (found.length > 0 || a === undefined || b === undefined) return null;
  const dora =
    options.useDora && magnitude !== undefined
      ? { magnitude: magnitude as Tensor1D, weightSquares: squaresByOutput(site) }
      : null;
  return { site, a: a as Tensor2D, b: b as Tensor2D, scale, scaleTensor: null, dora };
}

function checkTensors(
  expected: readonly (readonly [string, Tensor | undefined, readonly number[]])[],
  files: AdapterFiles,
): Problem[] {
  return expected.flatMap(([name, tensor, shape]): readonly Problem[] => {
    if (tensor === undefined)
      return [
        {
          message: 'A tensor is missing.',
          place: { file: tensorFile(files.folder), tensor: name },
          expected: `[${shape.join(', ')}]`,
        },
      ];
    const problem = shapeProblem(name, tensor, shape, files);
    return problem === null ? [] : [problem];
  });
}

/**
 * Computes W + s·(B·A)ᵀ for an adapted embedding: A is [rank, vocab], B is [hidden, rank]. `savedWeight` is W if PEFT
 * saved it with the adapter.
 */
function mergedEmbedding(
  model: LanguageModel,
  name: string,
  savedWeight: Tensor | undefined,
  tensors: LoraTensors,
  options: LoraOptions,
  files: AdapterFiles,
  problems: Problem[],
): Tensor | null {
  const { rank, scale } = rankAndScale(name, options);
  const weight = savedWeight ?? model.embeddingSite.weight;
  const [vocabulary = 0, hidden = 0] = weight.shape;
  const found = checkTensors(
    [
      [`${peftPrefix}${name}.lora_embedding_A`, tensors.a, [rank, vocabulary]],
      [`${peftPrefix}${name}.lora_embedding_B`, tensors.b, [hidden, rank]],
    ],
    files,
  );
  problems.push(...found);
  const { a, b } = tensors;
  if (found.length > 0 || a === undefined || b === undefined) return null;
  if (options.useDora) {
    problems.push({
      message: 'DoRA on an embedding is not supported.',
      place: { file: configFile(files.folder), path: 'use_dora' },
    });
    return null;
  }
  return tidy(() => add(weight, mul(transpose(matMul(b as Tensor2D, a as Tensor2D)), scale)));
}
