import type { Origin } from '@whetstone/core/contract';
import { GrowingInts } from '../../batching/growing-ints.js';

/** A list of origins that uses 12 bytes per origin. */
export interface OriginList {
  /** Adds an origin and returns its number. */
  add(origin: Origin): number;
  at(number: number): Origin;
}

export function createOriginList(): OriginList {
  const files: (string | undefined)[] = [];
  const fileOf = new GrowingInts();
  const lineOf = new GrowingInts();
  const indexOf = new GrowingInts();
  const othersOf = new Map<number, readonly Origin[]>();
  return {
    add({ file, line, index, others }) {
      if (others !== undefined) othersOf.set(fileOf.length, others);
      if (files.length === 0 || files.at(-1) !== file) files.push(file);
      fileOf.push(files.length - 1);
      lineOf.push(line ?? 0);
      indexOf.push(index);
      return fileOf.length - 1;
    },
    at(number) {
      const file = files[fileOf.at(number)];
      const line = lineOf.at(number);
      return withOthers({ file, line: line === 0 ? undefined : line, index: indexOf.at(number) }, othersOf.get(number));
    },
  };
}

const withOthers = (origin: Origin, others: readonly Origin[] | undefined): Origin =>
  others === undefined ? origin : { ...origin, others };

/** Origins of many conversations as typed arrays, which can be sent between threads efficiently. */
export interface PackedOrigins {
  readonly files: readonly (string | undefined)[];
  readonly fileOf: Int32Array;
  /** Line numbers; 0 if an origin has no line. */
  readonly lines: Int32Array;
  readonly indexes: Int32Array;
  /** The other origins of conversations that were made of several, by number. */
  readonly others: ReadonlyMap<number, readonly Origin[]>;
}

export function packOrigins(origins: readonly Origin[]): PackedOrigins {
  const files: (string | undefined)[] = [];
  const fileOf = Int32Array.from(origins, ({ file }) => {
    if (files.length === 0 || files.at(-1) !== file) files.push(file);
    return files.length - 1;
  });
  return {
    files,
    fileOf,
    lines: Int32Array.from(origins, ({ line }) => line ?? 0),
    indexes: Int32Array.from(origins, ({ index }) => index),
    others: new Map(origins.flatMap(({ others }, number) => (others === undefined ? [] : [[number, others]]))),
  };
}

export function originAt({ files, fileOf, lines, indexes, others }: PackedOrigins, number: number): Origin {
  const file = files[fileOf[number] ?? 0];
  const line = lines[number] ?? 0;
  return withOthers({ file, line: line === 0 ? undefined : line, index: indexes[number] ?? 0 }, others.get(number));
}
