import { WhetstoneError, type Json, type Problem } from '@whetstone/core/contract';

export type ConfigRecord = Readonly<Record<string, Json>>;

/**
 * Far more than any model has. The check is needed because tables of these sizes are allocated before they are compared
 * with the weights.
 */
const MAX_SIZE = 2 ** 24;

/** Reads fields of a config.json and collects all problems, so that they can be reported together. */
export interface ConfigReader {
  readonly record: ConfigRecord;
  /** Reads a finite number. Without a fallback the field is required. */
  number(key: string, fallback?: number): number;
  /** Reads an integer from 1 to `most`. Without a fallback the field is required. */
  size(key: string, fallback?: number, most?: number): number;
  optionalNumber(key: string): number | null;
  optionalText(key: string): string | null;
  flag(key: string, fallback: boolean): boolean;
  /** Reads a list of exactly `count` numbers. */
  numbers(key: string, count: number): readonly number[];
  /** Reads a string that is one of `allowed`. */
  choice<T extends string>(key: string, allowed: readonly T[], fallback: T): T;
  /** Records that a field is invalid. */
  problem(key: string, expected: string, found: string): void;
  /** Returns a reader of a nested record; its problems are collected with those of this reader. */
  nested(path: string, record: ConfigRecord): ConfigReader;
}

/**
 * Creates a reader. Call `check` after reading.
 *
 * @throws `MODEL_CONFIG_INVALID` from `check` if the reader recorded problems; lists all of them
 */
export function configReader(record: ConfigRecord, file: string): { readonly reader: ConfigReader; check(): void } {
  const problems: Problem[] = [];
  return {
    reader: readerAt(record, '', file, problems),
    check() {
      const [first] = problems;
      if (first === undefined) return;
      throw new WhetstoneError(
        'MODEL_CONFIG_INVALID',
        problems.length === 1 ? first.message : `config.json has ${problems.length} problems.`,
        {
          ...(problems.length === 1 ? first : { place: { file }, problems }),
        },
      );
    },
  };
}

function readerAt(record: ConfigRecord, path: string, file: string, problems: Problem[]): ConfigReader {
  const problem = (key: string, expected: string, found: string): void => {
    problems.push({ message: `The field has an invalid value.`, place: { file, path: path + key }, expected, found });
  };
  const show = (value: Json | undefined): string =>
    value === undefined ? 'nothing' : JSON.stringify(value).slice(0, 80);
  const numberOf = (
    key: string,
    accepts: (value: number) => boolean,
    expected: string,
    fallback: number | undefined,
  ): number => {
    const value = record[key];
    if ((value === undefined || value === null) && fallback !== undefined) return fallback;
    if (typeof value === 'number' && accepts(value)) return value;
    problem(key, expected, show(value));
    return fallback ?? 1;
  };
  return {
    record,
    problem,
    number: (key, fallback) => numberOf(key, Number.isFinite, 'a number', fallback),
    size(key, fallback, most = MAX_SIZE) {
      const value = numberOf(
        key,
        (size) => Number.isSafeInteger(size) && size > 0 && size <= most,
        most === Number.MAX_SAFE_INTEGER ? 'an integer above 0' : `an integer from 1 to ${most}`,
        fallback,
      );
      // A fallback is computed from other fields.
      return Math.min(value, most);
    },
    optionalNumber(key) {
      return record[key] === undefined || record[key] === null
        ? null
        : numberOf(key, Number.isFinite, 'a number or null', 1);
    },
    optionalText(key) {
      const value = record[key];
      if (value === undefined || value === null) return null;
      if (typeof value === 'string') return value;
      problem(key, 'text or null', show(value));
      return null;
    },
    flag(key, fallback) {
      const value = record[key];
      if (value === undefined || value === null) return fallback;
      if (typeof value === 'boolean') return value;
      problem(key, 'true or false', show(value));
      return fallback;
    },
    numbers(key, count) {
      const value = record[key];
      if (Array.isArray(value) && value.length === count && value.every((item) => typeof item === 'number'))
        return value as readonly number[];
      problem(key, `a list of ${count} numbers`, Array.isArray(value) ? `a list of ${value.length}` : show(value));
      return [];
    },
    choice(key, allowed, fallback) {
      const value = record[key];
      if (value === undefined || value === null) return fallback;
      const match = allowed.find((item) => item === value);
      if (match === undefined) problem(key, `one of ${allowed.join(', ')}`, show(value));
      return match ?? fallback;
    },
    nested: (key, nested) => readerAt(nested, `${path}${key}.`, file, problems),
  };
}
