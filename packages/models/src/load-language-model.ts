import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import {
  WhetstoneError,
  type Json,
  type LanguageModel,
  type ModelOutline,
  type Problem,
  type WeightStorage,
} from '@whetstone/core/contract';
import {
  architectures,
  createLanguageModel,
  outlineOf,
  parameterShapes,
  readShape,
  type ArchitectureSpec,
  type DecoderShape,
} from './architectures/index.js';
import { HEAD_NAME } from './architectures/parameters.js';
import { readJsonObject } from '@whetstone/core/files';
import { grownConfig, grownShape, growParameters, type VocabularyGrowth } from './grow-vocabulary.js';
import { loadParameter, roleOf } from './load-parameter.js';
import { openWeights, type TensorReader } from './safetensors/index.js';

/**
 * Reads a model from its Hugging Face folder: config.json and safetensors weights (single or sharded), as float32
 * variables on the present backend, or kept in fewer bytes as `options.storage` says, weight by weight. Names and
 * shapes of all tensors are checked before the first weight is read.
 *
 * @param options.architectures architectures besides the built-in ones, which they may replace.
 * @param options.grow tokens that the vocabulary gets in addition.
 *
 *   Throws `MODEL_NOT_FOUND`, `MODEL_CONFIG_INVALID`, `MODEL_ARCHITECTURE_UNKNOWN`, `SAFETENSORS_INVALID`, and
 *   `MODEL_TENSOR_MISSING`, `MODEL_TENSOR_SHAPE` or `MODEL_TENSOR_UNKNOWN` with every tensor that does not fit.
 */
export async function loadLanguageModel(
  folder: string,
  options: {
    readonly architectures?: readonly ArchitectureSpec[];
    readonly storage?: WeightStorage | null;
    readonly grow?: VocabularyGrowth;
  } = {},
): Promise<LanguageModel> {
  const config = await readConfig(folder);
  const known = new Map([
    ...architectures,
    ...(options.architectures ?? []).map((spec) => [spec.modelType, spec] as const),
  ]);
  const shape = readShape(config, join(folder, 'config.json'), known);
  const reader = await openWeights(folder);
  try {
    const stored = matchTensors(folder, shape, reader);
    const parameters = new Map<string, tf.Variable>();
    const quantised = new Set<string>();
    try {
      const role = roleOf(shape);
      const storage: WeightStorage = (weight) => {
        const wanted = options.storage?.(weight) ?? null;
        if (typeof wanted === 'function') quantised.add(weight.name);
        return wanted;
      };
      for (const parameter of parameterShapes(shape)) {
        parameters.set(
          parameter.name,
          await loadParameter(reader, stored.get(parameter.name) ?? parameter.name, role(parameter), storage),
        );
      }
    } catch (error) {
      for (const variable of parameters.values()) variable.dispose();
      throw error;
    }
    const { grow } = options;
    if (grow === undefined) return createLanguageModel({ shape, config, parameters, folder, quantised });
    growParameters(shape, parameters, grow);
    const grown = grownShape(shape, grow);
    return createLanguageModel({
      shape: grown,
      config: grownConfig(config, grown.vocabularySize),
      parameters,
      folder,
      quantised,
      addedTokens: Array.from({ length: grow.count }, (_, index) => grow.first + index),
    });
  } finally {
    await reader.close();
  }
}

/**
 * The model that config.json of a folder describes, without any weight. Throws `MODEL_NOT_FOUND`,
 * `MODEL_CONFIG_INVALID` or `MODEL_ARCHITECTURE_UNKNOWN`.
 */
export async function readOutline(folder: string): Promise<ModelOutline> {
  return outlineOf(readShape(await readConfig(folder), join(folder, 'config.json'), architectures));
}

/** A variable that gradients pass by until a strategy asks for it. */
export function createParameter(values: Float32Array, shape: readonly number[]): tf.Variable {
  const initial = tf.tensor(values, [...shape], 'float32');
  const variable = tf.variable(initial, false);
  initial.dispose();
  return variable;
}

/** config.json of a model folder. Throws `MODEL_NOT_FOUND` or `MODEL_CONFIG_INVALID`. */
async function readConfig(folder: string): Promise<Readonly<Record<string, Json>>> {
  const file = join(folder, 'config.json');
  return readJsonObject(file, {
    missing: async (cause) => {
      const isFile = await stat(folder).then(
        (found) => found.isFile(),
        () => false,
      );
      return new WhetstoneError('MODEL_NOT_FOUND', 'There is no model here: config.json is missing.', {
        place: { file: folder },
        hint:
          isFile && basename(folder).endsWith('.gguf')
            ? 'A GGUF file is imported into a folder with `whetstone import`.'
            : 'Give the folder that holds config.json and the weights.',
        cause,
      });
    },
    invalid: (message, cause) =>
      new WhetstoneError('MODEL_CONFIG_INVALID', `config.json ${message}`, { place: { file }, cause }),
  });
}

/** Tensors that older checkpoints hold and nothing needs: masks and rotary tables. */
const derived = /(^|\.)(attn\.(masked_)?bias|rotary_emb\.inv_freq)$/;

/**
 * Where each parameter is stored. Checkpoints of the bare decoder lack the prefix (`h.0…` for `transformer.h.0…`).
 * Everything that is missing, misshapen or unknown is reported at once.
 */
function matchTensors(folder: string, shape: DecoderShape, reader: TensorReader): ReadonlyMap<string, string> {
  const prefix = `${shape.names.prefix}.`;
  const wanted = parameterShapes(shape);
  const bare =
    !reader.tensors.has(wanted[0]?.name ?? '') && reader.tensors.has((wanted[0]?.name ?? '').slice(prefix.length));
  const storedName = (name: string): string => (bare && name.startsWith(prefix) ? name.slice(prefix.length) : name);
  const missing: Problem[] = [];
  const misshapen: Problem[] = [];
  const stored = new Map<string, string>();
  for (const { name, shape: expected } of wanted) {
    const entry = reader.tensors.get(storedName(name));
    if (entry === undefined) {
      missing.push({
        message: 'The tensor is missing.',
        place: { file: folder, tensor: storedName(name) },
        expected: `shape [${expected.join(', ')}]`,
      });
    } else if (!sameShape(entry.shape, expected)) {
      misshapen.push({
        message: 'The tensor has another shape than the model.',
        place: { file: reader.fileOf(entry.name), tensor: entry.name },
        expected: `[${expected.join(', ')}]`,
        found: `[${entry.shape.join(', ')}]`,
      });
    }
    stored.set(name, storedName(name));
  }
  const known = new Set(stored.values());
  const ignored = (name: string): boolean => derived.test(name) || (shape.tiedHead && name === `${HEAD_NAME}.weight`);
  const unknown = [...reader.tensors.keys()]
    .filter((name) => !known.has(name) && !ignored(name))
    .map((name): Problem => ({
      message: 'The architecture has no such tensor.',
      place: { file: reader.fileOf(name), tensor: name },
    }));
  const problems = [...missing, ...misshapen, ...unknown];
  const [first] = problems;
  if (first === undefined) return stored;
  const code =
    missing.length > 0 ? 'MODEL_TENSOR_MISSING' : misshapen.length > 0 ? 'MODEL_TENSOR_SHAPE' : 'MODEL_TENSOR_UNKNOWN';
  throw new WhetstoneError(
    code,
    problems.length === 1
      ? first.message
      : `${problems.length} tensors do not fit the ${shape.architecture} model that config.json describes.`,
    {
      ...(problems.length === 1 ? first : { place: { file: folder }, problems }),
      hint: 'config.json and the weights must belong to the same model.',
    },
  );
}

const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((size, axis) => size === b[axis]);
