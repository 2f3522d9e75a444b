import { closeSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { writeError, writeFullySync } from '@whetstone/core/files';
import { messageOf } from '@whetstone/core/util';
import { GrowingInts } from './growing-ints.js';
import { runsOf, type WeightRuns } from './token-weights.js';

/** Ids and target marks of samples, as one 32-bit integer per token. Bit 30 marks target tokens. */
export interface TokenStore {
  readonly samples: number;
  /**
   * Adds a sample and returns its number. `supervised[i]` is 1 if token i is a target; `weights[i]` is its weight in
   * the loss, by default 1.
   */
  add(ids: ArrayLike<number>, supervised: Uint8Array, weights?: Float32Array): number;
  /** Returns the number of tokens of a sample. */
  lengthOf(sample: number): number;
  /** Returns the number of target tokens of a sample, without its first token, which is never predicted. */
  targetsOf(sample: number): number;
  /**
   * Returns the packed tokens of a sample from `start` up to `end`, to be read with {@link idOf} and {@link isTarget}.
   * The result must not be changed.
   *
   * @throws `TokensLost` if they were in a file that can no longer be read
   */
  read(sample: number, start: number, end: number): Int32Array;
  /** Returns the weights of a sample's tokens; null if all are 1. */
  weightsOf(sample: number): WeightRuns | null;
  /** Whether some tokens are in a file, so that reading them can fail. */
  readonly isInFile: boolean;
  /** Returns the contents of the store, for a file. */
  snapshot(): StoreSnapshot;
}

/** The contents of a store: the page and offset of each sample, and the tokens of each page. */
interface StoreSnapshot {
  readonly pageOf: Int32Array;
  readonly offsetOf: Int32Array;
  readonly lengths: Int32Array;
  readonly targets: Int32Array;
  /** The weights of samples in which not all weights are 1. */
  readonly weights: readonly (readonly [sample: number, runs: WeightRuns])[];
  readonly pages: readonly { readonly tokens: number; read(): Int32Array }[];
}

const TARGET = 1 << 30;

export const idOf = (packed: number): number => packed & (TARGET - 1);
export const isTarget = (packed: number): boolean => (packed & TARGET) !== 0;

/** Tokens per page. A sample never crosses pages. */
const PAGE_TOKENS = 1 << 20;

/** Tokens that are kept in memory before pages go to a file: 128 MB. */
export const MEMORY_TOKENS = 32 << 20;

/** A page in memory, or its position in a file. */
export type Page = { readonly values: Int32Array } | { readonly file: number; readonly position: number };

/** Thrown if tokens that were in a file can no longer be read: the disk failed, or the file was truncated. */
export class TokensLost extends Error {
  override readonly name = 'TokensLost';
}

/** Fills a buffer from a position of a file of tokens. @throws `TokensLost` */
export function readFully(file: number, bytes: Uint8Array, position: number): void {
  try {
    for (let done = 0; done < bytes.length;) {
      const read = readSync(file, bytes, done, bytes.length - done, position + done);
      if (read === 0) throw new TokensLost('the file is incomplete');
      done += read;
    }
  } catch (cause) {
    throw cause instanceof TokensLost ? cause : new TokensLost(messageOf(cause), { cause });
  }
}

/** Reads tokens of a page, from memory or from its file. @throws `TokensLost` */
export function readPage(page: Page, start: number, end: number): Int32Array {
  if ('values' in page) return page.values.subarray(start, end);
  const result = new Int32Array(end - start);
  readFully(page.file, new Uint8Array(result.buffer), page.position + start * 4);
  return result;
}

function createTemporary(): { readonly folder: string; readonly file: number } {
  try {
    const folder = mkdtempSync(path.join(tmpdir(), 'whetstone-tokens-'));
    return { folder, file: openSync(path.join(folder, 'tokens'), 'w+') };
  } catch (cause) {
    throw writeError(cause, tmpdir());
  }
}

/**
 * Opens a temporary file for pages that do not fit into memory. It is deleted at once if the system allows that,
 * otherwise at the end of the process.
 */
export function openOverflow(): number {
  const { folder, file } = createTemporary();
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

/** How a store holds its tokens. */
export interface TokenStoreOptions {
  /** Tokens that are kept in memory; by default {@link MEMORY_TOKENS}. */
  readonly memoryTokens?: number;
  readonly pageTokens?: number;
  /** Receives a note, once, if further tokens stay in memory, because the temporary file cannot be written. */
  readonly onNote?: (note: string) => void;
}

/**
 * Creates a store that uses 4 bytes per token and 16 bytes per sample. Up to `memoryTokens` are in memory, further ones
 * in a temporary file if it can be written.
 */
export function createTokenStore({
  memoryTokens = MEMORY_TOKENS,
  pageTokens = PAGE_TOKENS,
  onNote,
}: TokenStoreOptions = {}): TokenStore {
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
  let canWrite = true;

  /** Appends the current page to the temporary file. Returns null if that fails, as on a full disk. */
  function writePage(): Page | null {
    try {
      overflow ??= openOverflow();
      const bytes = new Uint8Array(current.buffer, 0, used * 4);
      writeFullySync(overflow, bytes, written, tmpdir());
      written += bytes.length;
      return { file: overflow, position: written - bytes.length };
    } catch (cause) {
      canWrite = false;
      onNote?.(
        `All tokens are kept in memory: the temporary file in ${tmpdir()} cannot be written: ${messageOf(cause)}`,
      );
      return null;
    }
  }

  /** Finishes the current page: keeps it in memory, or writes it to the file if the limit of memory is reached. */
  function finishPage(): void {
    const last = pages.length - 1;
    if (last < 0) return;
    sizes[last] = used;
    const page = canWrite && inMemory + used > memoryTokens ? writePage() : null;
    if (page === null) inMemory += used;
    pages[last] = page ?? { values: current.subarray(0, used) };
  }

  return {
    get samples(): number {
      return lengths.length;
    },
    get isInFile(): boolean {
      return overflow !== null;
    },
    add(ids, supervised, weights) {
      if (pages.length === 0 || used + ids.length > current.length) {
        finishPage();
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
