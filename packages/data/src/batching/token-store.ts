import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { GrowingInts } from './growing-ints.js';
import { runsOf, type WeightRuns } from './token-weights.js';

/**
 * Ids and labels of many samples, compactly: one 32-bit number a token, whose top bits say whether the token is
 * supervised.
 */
export interface TokenStore {
  readonly samples: number;
  /**
   * Adds a sample and returns its number. `supervised[i]` is 1 where token i is supervised; `weights[i]` is what it
   * counts, 1 where there are none.
   */
  add(ids: ArrayLike<number>, supervised: Uint8Array, weights?: Float32Array): number;
  /** Tokens of a sample. */
  lengthOf(sample: number): number;
  /** Tokens of a sample that are supervised and that something predicts. */
  targetsOf(sample: number): number;
  /**
   * A sample's tokens from `start` up to `end`, packed; read them with {@link idOf} and {@link isTarget}. Do not write
   * to it.
   */
  read(sample: number, start: number, end: number): Int32Array;
  /** What a sample's tokens count; null where each counts 1. */
  weightsOf(sample: number): WeightRuns | null;
  /** All of it, for a file. */
  snapshot(): StoreSnapshot;
}

/** A store as plain arrays: where each sample stands, and the tokens page by page. */
interface StoreSnapshot {
  readonly pageOf: Int32Array;
  readonly offsetOf: Int32Array;
  readonly lengths: Int32Array;
  readonly targets: Int32Array;
  /** Samples whose tokens do not all count 1. */
  readonly weights: readonly (readonly [sample: number, runs: WeightRuns])[];
  readonly pages: readonly { readonly tokens: number; read(): Int32Array }[];
}

const TARGET = 1 << 30;

export const idOf = (packed: number): number => packed & (TARGET - 1);
export const isTarget = (packed: number): boolean => (packed & TARGET) !== 0;

/** Tokens of a page. Samples never cross pages, so that each is one stretch. */
const PAGE_TOKENS = 1 << 20;

/** Tokens that are kept in memory before pages go to a file: 128 MB. */
const MEMORY_TOKENS = 32 << 20;

/** Where the tokens of a page are. */
export type Page = { readonly values: Int32Array } | { readonly file: number; readonly position: number };

/** Tokens of a page, from memory or from its file. */
export function readPage(page: Page, start: number, end: number): Int32Array {
  if ('values' in page) return page.values.subarray(start, end);
  const result = new Int32Array(end - start);
  const bytes = new Uint8Array(result.buffer);
  for (let done = 0; done < bytes.length;) {
    const read = readSync(page.file, bytes, done, bytes.length - done, page.position + start * 4 + done);
    if (read === 0) throw new Error('The file of tokens ends early.');
    done += read;
  }
  return result;
}

/**
 * A file for pages that do not fit into memory. It has no name where the system allows that, and is gone when the
 * process ends.
 */
export function openOverflow(): number {
  const folder = mkdtempSync(path.join(tmpdir(), 'whetstone-tokens-'));
  const file = openSync(path.join(folder, 'tokens'), 'w+');
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  try {
    remove();
  } catch {
    process.once('exit', () => {
      closeSync(file);
      remove();
    });
  }
  return file;
}

/**
 * A store of four bytes a token: in memory up to `memoryTokens`, beyond that in a temporary file that is read sample by
 * sample. Besides, 16 bytes a sample are kept.
 */
export function createTokenStore({
  memoryTokens = MEMORY_TOKENS,
  pageTokens = PAGE_TOKENS,
}: { readonly memoryTokens?: number; readonly pageTokens?: number } = {}): TokenStore {
  const pages: Page[] = [];
  const sizes: number[] = [];
  const pageOf = new GrowingInts();
  const offsetOf = new GrowingInts();
  const lengths = new GrowingInts();
  const targets = new GrowingInts();
  const weightRuns = new Map<number, WeightRuns>();
  let current = new Int32Array(0);
  let used = 0;
  let inMemory = 0;
  let overflow: number | null = null;
  let written = 0;

  /** Moves the page that is full out of memory, where there is no room for more. */
  function settle(): void {
    const last = pages.length - 1;
    if (last < 0) return;
    sizes[last] = used;
    if (inMemory + used <= memoryTokens) {
      inMemory += used;
      pages[last] = { values: current.subarray(0, used) };
      return;
    }
    overflow ??= openOverflow();
    const bytes = new Uint8Array(current.buffer, 0, used * 4);
    for (let done = 0; done < bytes.length;)
      done += writeSync(overflow, bytes, done, bytes.length - done, written + done);
    pages[last] = { file: overflow, position: written };
    written += bytes.length;
  }

  return {
    get samples(): number {
      return lengths.length;
    },
    add(ids, supervised, weights) {
      if (pages.length === 0 || used + ids.length > current.length) {
        settle();
        current = new Int32Array(Math.max(pageTokens, ids.length));
        used = 0;
        pages.push({ values: current });
      }
      let count = 0;
      for (let index = 0; index < ids.length; index++) {
        const id = ids[index] as number;
        const marked = supervised[index] === 1;
        if (marked && index > 0) count++;
        current[used + index] = marked ? id | TARGET : id;
      }
      pageOf.push(pages.length - 1);
      offsetOf.push(used);
      lengths.push(ids.length);
      targets.push(count);
      used += ids.length;
      const runs = runsOf(weights);
      if (runs !== null) weightRuns.set(lengths.length - 1, runs);
      return lengths.length - 1;
    },
    lengthOf: (sample) => lengths.at(sample),
    targetsOf: (sample) => targets.at(sample),
    read(sample, start, end) {
      const offset = offsetOf.at(sample);
      return readPage(pages[pageOf.at(sample)] as Page, offset + start, offset + end);
    },
    weightsOf: (sample) => weightRuns.get(sample) ?? null,
    snapshot: () => ({
      weights: [...weightRuns],
      pageOf: pageOf.values(),
      offsetOf: offsetOf.values(),
      lengths: lengths.values(),
      targets: targets.values(),
      pages: pages.map((page, index) => {
        const tokens = index === pages.length - 1 ? used : (sizes[index] ?? 0);
        return { tokens, read: () => readPage(page, 0, tokens) };
      }),
    }),
  };
}
