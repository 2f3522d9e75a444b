import { tmpdir } from 'node:os';
import { writeFullySync } from '@whetstone/core/files';
import { GrowingInts } from '../../batching/growing-ints.js';
import { openOverflow, readPage, type Page } from '../../batching/token-store.js';

const PAGE_VALUES = 1 << 18;
/** Values in memory: 64 MB. Further sketches are read from a temporary file. */
const MEMORY_VALUES = 16 << 20;

/** A list of sketches, in memory and, beyond a limit, in a file. */
export interface SketchStore {
  /** Adds a sketch; entries are numbered from 0. */
  add(sketch: Uint32Array): void;
  read(entry: number): Uint32Array;
}

export function createSketchStore({
  memoryValues = MEMORY_VALUES,
  pageValues = PAGE_VALUES,
}: { readonly memoryValues?: number; readonly pageValues?: number } = {}): SketchStore {
  const pages: Page[] = [];
  const pageOf = new GrowingInts();
  const startOf = new GrowingInts();
  const lengthOf = new GrowingInts();
  let current: Int32Array = new Int32Array(0);
  let used = 0;
  let overflow: number | null = null;
  let written = 0;

  /** Finishes the current page, in memory or in the file, and returns an array for the next page. */
  function finishPage(): Int32Array {
    const kept = pages.filter((page) => 'values' in page).length;
    if (pages.length === 0 || kept * pageValues <= memoryValues) return new Int32Array(pageValues);
    overflow ??= openOverflow();
    const bytes = new Uint8Array(current.buffer, 0, used * 4);
    writeFullySync(overflow, bytes, written, tmpdir());
    pages[pages.length - 1] = { file: overflow, position: written };
    written += bytes.length;
    return current;
  }

  return {
    add(sketch) {
      if (pages.length === 0 || used + sketch.length > current.length) {
        current = finishPage();
        used = 0;
        pages.push({ values: current });
      }
      current.set(sketch, used);
      pageOf.push(pages.length - 1);
      startOf.push(used);
      lengthOf.push(sketch.length);
      used += sketch.length;
    },
    read(entry) {
      const start = startOf.at(entry);
      const values = readPage(pages[pageOf.at(entry)] as Page, start, start + lengthOf.at(entry));
      return new Uint32Array(values.buffer, values.byteOffset, values.length);
    },
  };
}
