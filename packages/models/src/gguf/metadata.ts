import type { GgufHeader, GgufValue } from './header.js';
import { invalidGguf } from './header.js';

/**
 * Typed access to the metadata of a header. In keys, the prefix `arch.` is replaced by the architecture, as in
 * `llama.block_count`.
 *
 * @throws `GGUF_INVALID` from every method if a value has a different type
 */
export interface Metadata {
  readonly architecture: string;
  has(key: string): boolean;
  number(key: string): number;
  optionalNumber(key: string): number | undefined;
  optionalText(key: string): string | undefined;
  optionalFlag(key: string): boolean | undefined;
  texts(key: string): readonly string[];
  numbers(key: string): readonly number[];
  optionalList(key: string): readonly GgufValue[] | undefined;
  keys(): Iterable<string>;
}

/**
 * Creates the typed metadata of a header.
 *
 * @throws `GGUF_INVALID` if `general.architecture` is missing
 */
export function readMetadata(file: string, { metadata }: GgufHeader): Metadata {
  const invalid = (key: string, expected: string): Error =>
    invalidGguf(file, `The metadata ${key} is missing or invalid.`, undefined, {
      expected,
      found: describe(metadata.get(key)),
    });
  const named = metadata.get('general.architecture');
  if (typeof named !== 'string') throw invalid('general.architecture', 'a string');
  const architecture: string = named;
  const resolve = (key: string): string => (key.startsWith('arch.') ? `${architecture}.${key.slice(5)}` : key);
  const optional = <T extends GgufValue>(
    key: string,
    is: (value: GgufValue) => value is T,
    expected: string,
  ): T | undefined => {
    const value = metadata.get(resolve(key));
    if (value === undefined) return undefined;
    if (!is(value)) throw invalid(resolve(key), expected);
    return value;
  };
  const isNumber = (value: GgufValue): value is number => typeof value === 'number';
  const isText = (value: GgufValue): value is string => typeof value === 'string';
  const isList = (value: GgufValue): value is readonly GgufValue[] => Array.isArray(value);
  const required = <T>(key: string, value: T | undefined, expected: string): T => {
    if (value === undefined) throw invalid(resolve(key), expected);
    return value;
  };
  const list = <T extends GgufValue>(
    key: string,
    is: (value: GgufValue) => value is T,
    expected: string,
  ): readonly T[] => {
    const values = required(key, optional(key, isList, expected), expected);
    if (!values.every(is)) throw invalid(resolve(key), expected);
    return values as readonly T[];
  };
  return {
    architecture,
    has: (key) => metadata.has(resolve(key)),
    number: (key) => required(key, optional(key, isNumber, 'a number'), 'a number'),
    optionalNumber: (key) => optional(key, isNumber, 'a number'),
    optionalText: (key) => optional(key, isText, 'a string'),
    optionalFlag: (key) => optional(key, (value) => typeof value === 'boolean', 'true or false'),
    texts: (key) => list(key, isText, 'a list of strings'),
    numbers: (key) => list(key, isNumber, 'a list of numbers'),
    optionalList: (key) => optional(key, isList, 'a list'),
    keys: () => metadata.keys(),
  };
}

function describe(value: GgufValue | undefined): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return JSON.stringify(typeof value === 'bigint' ? String(value) : value).slice(0, 80);
}
