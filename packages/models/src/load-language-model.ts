import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { tensor, variable, type Variable } from '@tensorflow/tfjs-core';
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
import { openWeights, type TensorReader } from '@whetstone/core/safetensors';

/**
 * Reads a model from a Hugging Face folder: config.json and safetensors weights, in one file or in shards. Parameters
 * become variables on the current backend. Names and shapes of all tensors are checked before the first weight is read.
 *
 * @param options.architectures Additional architectures; they may replace built-in ones.
 * @param options.storage Decides how each weight is stored on the device; float32 by default.
 * @param options.grow Tokens to add to the vocabulary.
 * @throws `MODEL_NOT_FOUND` if config.json or the weights are missing
 * @throws `MODEL_CONFIG_INVALID` if config.json is invalid
 * @throws `MODEL_ARCHITECTURE_UNKNOWN` if the architecture is not supported
 * @throws `SAFETENSORS_INVALID` if a weights file is invalid
 * @throws `MODEL_TENSOR_MISSING`, `MODEL_TENSOR_SHAPE` or `MODEL_TENSOR_UNKNOWN` if tensors do not match config.json;
 *   lists all of them
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
    const parameters = new Map<string, Variable>();
    const quantised = new Set<string>();
    try {
      const role = roleOf(shape);
      const storage: WeightStorage = (weight) => {
        const format = options.storage?.(weight) ?? null;
        if (typeof format === 'function') quantised.add(weight.name);
        return format;
      };
      for (const parameter of parameterShapes(shape)) {
        parameters.set(
          parameter.name,
          await loadParameter(reader, stored.get(parameter.name) ?? parameter.name, role(parameter), storage),
        );
      }
    } catch (error) {
      for (const parameter of parameters.values()) parameter.dispose();
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
 * Reads the outline of a model from config.json, without any weight.
 *
 * @throws `MODEL_NOT_FOUND` if config.json is missing
 * @throws `MODEL_CONFIG_INVALID` if config.json is invalid
 * @throws `MODEL_ARCHITECTURE_UNKNOWN` if the architecture is not supported
 */
export async function readOutline(folder: string): Promise<ModelOutline> {
  return outlineOf(readShape(await readConfig(folder), join(folder, 'config.json'), architectures));
}

/** Creates a variable that is not trainable until a strategy makes it so. */
export function createParameter(values: Float32Array, shape: readonly number[]): Variable {
  const initial = tensor(values, [...shape], 'float32');
  const parameter = variable(initial, false);
  initial.dispose();
  return parameter;
}

/**
 * Reads config.json of a model folder.
 *
 * @throws `MODEL_NOT_FOUND` if the file is missing
 * @throws `MODEL_CONFIG_INVALID` if it is not a JSON object
 */
async function readConfig(folder: string): Promise<Readonly<Record<string, Json>>> {
  const file = join(folder, 'config.json');
  return readJsonObject(file, {
    missing: async (cause) => {
      const isFile = await stat(folder).then(
        (found) => found.isFile(),
        () => false,
      );
      return new WhetstoneError('MODEL_NOT_FOUND', 'The folder does not contain a model: config.json is missing.', {
        place: { file: folder },
        hint:
          isFile && basename(folder).endsWith('.gguf')
            ? 'The command `import`, or `importGguf` of @whetstone/models, converts a GGUF file into a model folder.'
            : 'Use the path of the folder that contains config.json and the weights.',
        cause,
      });
    },
    invalid: (message, cause) =>
      new WhetstoneError('MODEL_CONFIG_INVALID', `config.json ${message}`, { place: { file }, cause }),
  });
}

/** Tensors in older checkpoints that are computed instead of read: masks and rotary tables. */
const derivedTensors = /(^|\.)(attn\.(masked_)?bias|rotary_emb\.inv_freq)$/;

/**
 * Returns the stored tensor's name for each parameter. Checkpoints of the base model without a head lack the prefix
 * (`h.0…` for `transformer.h.0…`).
 *
 * @throws `MODEL_TENSOR_MISSING`, `MODEL_TENSOR_SHAPE` or `MODEL_TENSOR_UNKNOWN` if tensors do not match; lists all of
 *   them
 */
function matchTensors(folder: string, shape: DecoderShape, reader: TensorReader): ReadonlyMap<string, string> {
  const prefix = `${shape.names.prefix}.`;
  const parameters = parameterShapes(shape);
  const firstName = parameters[0]?.name ?? '';
  const lacksPrefix = !reader.tensors.has(firstName) && reader.tensors.has(firstName.slice(prefix.length));
  const storedName = (name: string): string =>
    lacksPrefix && name.startsWith(prefix) ? name.slice(prefix.length) : name;
  const missing: Problem[] = [];
  const misshapen: Problem[] = [];
  const stored = new Map<string, string>();
  for (const { name, shape: expected } of parameters) {
    const entry = reader.tensors.get(storedName(name));
    if (entry === undefined) {
      missing.push({
        message: 'The tensor is missing.',
        place: { file: folder, tensor: storedName(name) },
        expected: `shape [${expected.join(', ')}]`,
      });
    } else if (!sameShape(entry.shape, expected)) {
      misshapen.push({
        message: 'The shape of the tensor does not match the model.',
        place: { file: reader.fileOf(entry.name), tensor: entry.name },
        expected: `[${expected.join(', ')}]`,
        found: `[${entry.shape.join(', ')}]`,
      });
    }
    stored.set(name, storedName(name));
  }
  const known = new Set(stored.values());
  const ignored = (name: string): boolean =>
    derivedTensors.test(name) || (shape.tiedHead && name === `${HEAD_NAME}.weight`);
  const unknown = [...reader.tensors.keys()]
    .filter((name) => !known.has(name) && !ignored(name))
    .map((name): Problem => ({
      message: 'The architecture does not have this tensor.',
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
      : `${problems.length} tensors do not match the ${shape.architecture} model that config.json describes.`,
    {
      ...(problems.length === 1 ? first : { place: { file: folder }, problems }),
      hint: 'Check that config.json and the weights belong to the same model.',
    },
  );
}

const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((size, axis) => size === b[axis]);
