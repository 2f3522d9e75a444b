import type { GgufHeader, GgufValue } from './header.js';
import { invalidGguf } from './header.js';

/**
 * Typed access to a header's metadata; `arch` stands for the architecture's own prefix. Throws `GGUF_INVALID` for
 * values of another kind.
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

export function readMetadata(file: string, { metadata }: GgufHeader): Metadata {
  const wrong = (key: string, expected: string): Error =>
    invalidGguf(file, `The metadata ${key} is not what it must be.`, undefined, {
      expected,
      found: describe(metadata.get(key)),
    });
  const named = metadata.get('general.architecture');
  if (typeof named !== 'string') throw wrong('general.architecture', 'a string');
  const architecture: string = named;
  const resolve = (key: string): string => (key.startsWith('arch.') ? `${architecture}.${key.slice(5)}` : key);
  const optional = <T extends GgufValue>(
    key: string,
    is: (value: GgufValue) => value is T,
    expected: string,
  ): T | undefined => {
    const value = metadata.get(resolve(key));
    if (value === undefined) return undefined;
    if (!is(value)) throw wrong(resolve(key), expected);
    return value;
  };
  const isNumber = (value: GgufValue): value is number => typeof value === 'number';
  const isText = (value: GgufValue): value is string => typeof value === 'string';
  const isList = (value: GgufValue): value is readonly GgufValue[] => Array.isArray(value);
  const required = <T>(key: string, value: T | undefined, expected: string): T => {
    if (value === undefined) throw wrong(resolve(key), expected);
    return value;
  };
  const list = <T extends GgufValue>(
    key: string,
    is: (value: GgufValue) => value is T,
    expected: string,
  ): readonly T[] => {
    const values = required(key, optional(key, isList, expected), expected);
    if (!values.every(is)) throw wrong(resolve(key), expected);
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
