import type { Origin } from '@whetstone/core/contract';
import { GrowingInts } from '../../batching/growing-ints.js';

/** Origins by number, at 12 bytes each. */
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
  return {
    add({ file, line, index }) {
      if (files.length === 0 || files.at(-1) !== file) files.push(file);
      fileOf.push(files.length - 1);
      lineOf.push(line ?? 0);
      indexOf.push(index);
      return fileOf.length - 1;
    },
    at(number) {
      const file = files[fileOf.at(number)];
      const line = lineOf.at(number);
      return { index: indexOf.at(number), ...(file === undefined ? {} : { file }), ...(line === 0 ? {} : { line }) };
    },
  };
}
