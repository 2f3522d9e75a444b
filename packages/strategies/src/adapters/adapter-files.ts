import type { Tensor } from '@tensorflow/tfjs-core';
import { WhetstoneError, type AdapterFiles, type Json, type Problem } from '@whetstone/core/contract';
import { isRecord } from '@whetstone/core/util';

/** Reads fields of an adapter's configuration and collects problems, so that they can be reported together. */
export interface ConfigFields {
  readonly problems: Problem[];
  number(key: string, otherwise: number): number;
  boolean(key: string, otherwise: boolean): boolean;
  stringOrNull(key: string): string | null;
  /** Reads a list of strings; null if the field is absent. */
  strings(key: string): readonly string[] | null;
  stringOrStrings(key: string): string | readonly string[] | null;
  numbersByName(key: string): Readonly<Record<string, number>>;
  raw(key: string): Json | undefined;
}

const isStrings = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'string');

/** Creates typed access to `adapter_config.json`. @throws `ADAPTER_INVALID` if it is not an object */
export function readFields({ config, folder }: AdapterFiles): ConfigFields {
  const file = configFile(folder);
  if (!isRecord(config))
    throw new WhetstoneError('ADAPTER_INVALID', "The adapter's configuration is not an object.", {
      place: { file },
      expected: 'a JSON object',
      found: JSON.stringify(config),
    });
  const problems: Problem[] = [];
  const read = <T>(key: string, otherwise: T, expected: string, fits: (value: unknown) => value is T): T => {
    const value = config[key];
    if (value === undefined || value === null) return otherwise;
    if (fits(value)) return value;
    problems.push({
      message: `${key} has the wrong type.`,
      place: { file, path: key },
      expected,
      found: JSON.stringify(value),
    });
    return otherwise;
  };
  const isString = (value: unknown): value is string => typeof value === 'string';
  return {
    problems,
    number: (key, otherwise) => read(key, otherwise, 'a number', (value): value is number => typeof value === 'number'),
    boolean: (key, otherwise) =>
      read(key, otherwise, 'true or false', (value): value is boolean => typeof value === 'boolean'),
    stringOrNull: (key) => read<string | null>(key, null, 'a string or null', isString),
    strings: (key) => read<readonly string[] | null>(key, null, 'a list of strings or null', isStrings),
    stringOrStrings: (key) =>
      read<string | readonly string[] | null>(
        key,
        null,
        'a string, a list of strings or null',
        (value): value is string | readonly string[] => isString(value) || isStrings(value),
      ),
    numbersByName: (key) =>
      read<Readonly<Record<string, number>>>(
        key,
        {},
        'an object of numbers',
        (value): value is Readonly<Record<string, number>> =>
          isRecord(value) && Object.values(value).every((item) => typeof item === 'number'),
      ),
    raw: (key) => config[key],
  };
}

/** Returns the `peft_type` of an adapter; null if it is missing. @throws `ADAPTER_INVALID` without a configuration */
export const peftTypeOf = (files: AdapterFiles): string | null => readFields(files).stringOrNull('peft_type');

export const configFile = (folder: string | undefined): string =>
  folder === undefined ? 'adapter_config.json' : `${folder}/adapter_config.json`;
export const tensorFile = (folder: string | undefined): string =>
  folder === undefined ? 'adapter_model.safetensors' : `${folder}/adapter_model.safetensors`;

/** Throws if there are problems. @throws `ADAPTER_INVALID` with all of them */
export function throwProblems(problems: readonly Problem[], { folder }: AdapterFiles): void {
  if (problems.length === 0) return;
  throw new WhetstoneError('ADAPTER_INVALID', 'The adapter does not match the model.', {
    place: { file: folder },
    problems,
    hint: 'Use the model that the adapter was trained on; base_model_name_or_path names it.',
  });
}

/** Checks the shape of a tensor; returns a problem, or null if it is as expected. */
export function shapeProblem(
  name: string,
  tensor: Pick<Tensor, 'shape'>,
  expected: readonly number[],
  files: AdapterFiles,
): Problem | null {
  if (tensor.shape.length === expected.length && tensor.shape.every((size, axis) => size === expected[axis]))
    return null;
  return {
    message: 'A tensor has the wrong shape.',
    place: { file: tensorFile(files.folder), tensor: name },
    expected: `[${expected.join(', ')}]`,
    found: `[${tensor.shape.join(', ')}]`,
  };
}
