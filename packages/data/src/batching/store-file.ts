import { createHash, randomUUID, type Hash } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import type { Json } from '@whetstone/core/contract';
import { moveSync, readTextSync } from '@whetstone/core/files';
import { bytesOf } from '@whetstone/core/util';
import { MEMORY_TOKENS, readFully, readPage, type Page, type TokenStore } from './token-store.js';
import type { WeightRuns } from './token-weights.js';

const FORMAT = 3;

interface StoreHeader {
  readonly format: number;
  readonly samples: number;
  /** Tokens of each page. */
  readonly pages: readonly number[];
  readonly weights: readonly (readonly [sample: number, runs: WeightRuns])[];
  readonly details: Json;
  /** Hex SHA-256 of `tokens.bin`. */
  readonly tokens: string;
}

function writeAll(file: number, values: Int32Array, hash: Hash): void {
  const bytes = bytesOf(values);
  for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done, bytes.length - done);
  hash.update(bytes);
}

/** Returns the hash of a header with the name of its folder, so that a folder with another name is damaged, too. */
const hashOfHeader = (folder: string, header: string): string =>
  createHash('sha256').update(path.basename(folder)).update('\0').update(header).digest('hex');

/**
 * Writes a store to a folder: `tokens.bin` (the index, then the pages, as 32-bit integers in this machine's byte order)
 * and `store.json` (the hash of the header, then the header). The write is atomic: the folder is renamed when it is
 * complete. A store that another process has written meanwhile is kept.
 */
export function saveStore(folder: string, store: TokenStore, details: Json): void {
  const temporary = `${folder}.${randomUUID()}.part`;
  mkdirSync(temporary, { recursive: true });
  try {
    const { pageOf, offsetOf, lengths, targets, weights, pages } = store.snapshot();
    const hash = createHash('sha256');
    const file = openSync(path.join(temporary, 'tokens.bin'), 'w');
    try {
      for (const values of [pageOf, offsetOf, lengths, targets]) writeAll(file, values, hash);
      for (const page of pages) writeAll(file, page.read(), hash);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    const header = JSON.stringify({
      format: FORMAT,
      samples: store.samples,
      pages: pages.map(({ tokens }) => tokens),
      weights,
      details,
      tokens: hash.digest('hex'),
    } satisfies StoreHeader);
    const text = `${hashOfHeader(folder, header)}\n${header}`;
    writeFileSync(path.join(temporary, 'store.json'), text, { flush: true });
    replaceEntry(temporary, folder);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

function replaceEntry(temporary: string, folder: string): void {
  try {
    rmSync(folder, { recursive: true, force: true });
    moveSync(temporary, folder);
  } catch (error) {
    const opened = openStore(folder);
    if (opened === null) throw error;
    opened.close();
  }
}

const CHUNK_BYTES = 4 * 1024 * 1024;

/** Returns the hash of a file without holding it in memory. */
function hashOfFile(file: number, size: number): string {
  const hash = createHash('sha256');
  const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, size));
  for (let done = 0; done < size; done += CHUNK_BYTES) {
    const part = chunk.subarray(0, Math.min(CHUNK_BYTES, size - done));
    readFully(file, part, done);
    hash.update(part);
  }
  return hash.digest('hex');
}

/** The contents of a token file: in memory, or if it is larger than what a store keeps there, its open descriptor. */
type Contents = { readonly values: Int32Array } | { readonly file: number };

/** Reads or opens a token file. @throws if it is not as the hash says */
function openContents(path: string, size: number, sha256: string, memoryTokens: number): Contents {
  const file = openSync(path, 'r');
  let contents: Contents | null = null;
  try {
    if (size > memoryTokens * 4) {
      if (hashOfFile(file, size) === sha256) contents = { file };
    } else {
      const values = new Int32Array(size / 4);
      readFully(file, bytesOf(values), 0);
      if (createHash('sha256').update(bytesOf(values)).digest('hex') === sha256) contents = { values };
    }
  } finally {
    if (contents === null || 'values' in contents) closeSync(file);
  }
  if (contents === null) throw new Error('The tokens were changed.');
  return contents;
}

/** Returns the page that starts at a number of the file. */
const pageAt = (contents: Contents, start: number): Page =>
  'values' in contents ? { values: contents.values.subarray(start) } : { file: contents.file, position: start * 4 };

/** Reads the header of a store and its tokens, or opens them. @throws if one of them is missing or changed */
function openVerified(
  folder: string,
  memoryTokens: number,
): { readonly header: StoreHeader; readonly contents: Contents } {
  const text = readTextSync(path.join(folder, 'store.json'));
  const end = text.indexOf('\n');
  const json = text.slice(end + 1);
  if (text.slice(0, end) !== hashOfHeader(folder, json)) throw new Error('The header was changed.');
  const header = JSON.parse(json) as StoreHeader;
  if (header.format !== FORMAT) throw new Error('The format is another one.');
  const tokens = header.pages.reduce((sum, page) => sum + page, 0);
  const size = (header.samples * 4 + tokens) * 4;
  const found = statSync(path.join(folder, 'tokens.bin'));
  if (!found.isFile() || found.size !== size) throw new Error('The tokens are incomplete.');
  return { header, contents: openContents(path.join(folder, 'tokens.bin'), size, header.tokens, memoryTokens) };
}

/** A saved store that was opened. */
interface OpenedStore {
  readonly store: TokenStore;
  readonly details: Json;
  /** Closes the file of the tokens. The store cannot be used afterwards. */
  close(): void;
}

/**
 * Opens a saved store. A large one is read from its file as needed. Returns null if it is missing, or if it is not as
 * it was written: then `onDamage` is called.
 */
export function openStore(
  folder: string,
  onDamage: () => void = () => undefined,
  memoryTokens = MEMORY_TOKENS,
): OpenedStore | null {
  let opened: ReturnType<typeof openVerified>;
  let index: readonly Int32Array[];
  try {
    if (statSync(folder, { throwIfNoEntry: false }) === undefined) return null;
    opened = openVerified(folder, memoryTokens);
    const { samples } = opened.header;
    const whole = pageAt(opened.contents, 0);
    index = [0, 1, 2, 3].map((part) => readPage(whole, part * samples, (part + 1) * samples));
  } catch {
    onDamage();
    return null;
  }
  const { header, contents } = opened;
  const { samples } = header;
  const weights = new Map(header.weights);
  const [pageOf, offsetOf, lengths, targets] = index as [Int32Array, Int32Array, Int32Array, Int32Array];
  let position = samples * 4;
  const pages = header.pages.map((tokens): Page => {
    const page = pageAt(contents, position);
    position += tokens;
    return page;
  });
  const store: TokenStore = {
    samples,
    isInFile: 'file' in contents,
    add() {
      throw new Error('A store that was opened from a file is read-only.');
    },
    lengthOf: (sample) => lengths[sample] ?? 0,
    targetsOf: (sample) => targets[sample] ?? 0,
    read(sample, start, end) {
      const offset = offsetOf[sample] ?? 0;
      return readPage(pages[pageOf[sample] ?? 0] as Page, offset + start, offset + end);
    },
    weightsOf: (sample) => weights.get(sample) ?? null,
    snapshot: () => ({
      weights: header.weights,
      pageOf,
      offsetOf,
      lengths,
      targets,
      pages: pages.map((page, index) => ({
        tokens: header.pages[index] ?? 0,
        read: () => readPage(page, 0, header.pages[index] ?? 0),
      })),
    }),
  };
  return {
    store,
    details: header.details,
    close: () => {
      if ('file' in contents) closeSync(contents.file);
    },
  };
}
