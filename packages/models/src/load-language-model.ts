import { tensor, variable, type Variable } from '@tensorflow/tfjs-core';
import type { LanguageModel, ModelOutline, WeightStorage } from '@whetstone/core/contract';
import {
  architectures,
  createLanguageModel,
  outlineOf,
  parameterShapes,
  type ArchitectureSpec,
} from './architectures/index.js';
import { grownConfig, grownShape, growParameters, type VocabularyGrowth } from './grow-vocabulary.js';
import { loadParameter, roleOf } from './load-parameter.js';
import { openModelFiles } from './model-files.js';

/**
 * Reads a model from a Hugging Face folder: config.json and safetensors weights, in one file or in shards. Parameters
 * become variables on the current backend. Names and shapes of all tensors are checked before the first weight is read.
 *
 * @param options.architectures Additional architectures; they may replace built-in ones.
 * @param options.storage Decides how each weight is stored on the device; float32 by default.
 * @param options.grow Tokens to add to the vocabulary.
 * @param options.onNotice Receives messages about what was read differently from how it is written.
 * @throws `MODEL_NOT_FOUND` if config.json or the weights are missing
 * @throws `MODEL_CONFIG_INVALID` if config.json is invalid
 * @throws `MODEL_ARCHITECTURE_UNKNOWN` if the architecture is not supported
 * @throws `SAFETENSORS_INVALID` if a weights file is invalid
 * @throws `MODEL_TENSOR_MISSING`, `MODEL_TENSOR_SHAPE` or `MODEL_TENSOR_UNKNOWN` if tensors do not match config.json;
 *   lists all of them
 * @throws `MODEL_QUANTIZED` if the weights are quantised
 */
export async function loadLanguageModel(
  folder: string,
  options: {
    readonly architectures?: readonly ArchitectureSpec[];
    readonly storage?: WeightStorage | null;
    readonly grow?: VocabularyGrowth;
    readonly onNotice?: (message: string) => void;
  } = {},
): Promise<LanguageModel> {
  const known = new Map([
    ...architectures,
    ...(options.architectures ?? []).map((spec) => [spec.modelType, spec] as const),
  ]);
  const files = await openModelFiles(folder, known, options.onNotice ?? (() => undefined));
  const { shape, config, reader, stored } = files;
  try {
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
 * Reads the outline of a model from config.json and the headers of its weights. Throws the errors of
 * {@link loadLanguageModel}, before any weight is read.
 */
export async function readOutline(folder: string): Promise<ModelOutline> {
  const { shape, reader } = await openModelFiles(folder, architectures, () => undefined);
  await reader.close();
  return outlineOf(shape);
}

/** Creates a variable that is not trainable until a strategy makes it so. */
export function createParameter(values: Float32Array, shape: readonly number[]): Variable {
  const initial = tensor(values, [...shape], 'float32');
  const parameter = variable(initial, false);
  initial.dispose();
  return parameter;
}
