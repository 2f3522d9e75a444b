import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import type { Json } from '@whetstone/core/contract';
import { bytesOf } from '@whetstone/core/util';
import { readPage, type Page, type TokenStore } from './token-store.js';
import type { WeightRuns } from './token-weights.js';

const FORMAT = 2;

interface StoreHeader {
  readonly format: number;
  readonly samples: number;
  /** Tokens of each page. */
  readonly pages: readonly number[];
  readonly weights: readonly (readonly [sample: number, runs: WeightRuns])[];
  readonly details: Json;
}

function writeAll(file: number, values: Int32Array): void {
  const bytes = bytesOf(values);
  for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done, bytes.length - done);
}

/**
 * Writes a store to a folder: `tokens.bin` (the index, then the pages, as 32-bit integers in this machine's byte order)
 * and `store.json`. The write is atomic: the folder is renamed when it is complete.
 */
export function saveStore(folder: string, store: TokenStore, details: Json): void {
  const temporary = `${folder}.${process.pid}.part`;
  mkdirSync(temporary, { recursive: true });
  try {
    const { pageOf, offsetOf, lengths, targets, weights, pages } = store.snapshot();
    const file = openSync(path.join(temporary, 'tokens.bin'), 'w');
    try {
      for (const values of [pageOf, offsetOf, lengths, targets]) writeAll(file, values);
      for (const page of pages) writeAll(file, page.read());
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    const header: StoreHeader = {
      format: FORMAT,
      samples: store.samples,
      pages: pages.map(({ tokens }) => tokens),
      weights,
      details,
    };
    writeFileSync(path.join(temporary, 'store.json'), JSON.stringify(header), { flush: true });
    rmSync(folder, { recursive: true, force: true });
    renameSync(temporary, folder);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

function readInts(file: number, count: number, position: number): Int32Array {
  const values = new Int32Array(count);
  const bytes = new Uint8Array(values.buffer);
  for (let done = 0; done < bytes.length;) {
    const read = readSync(file, bytes, done, bytes.length - done, position + done);
    if (read === 0) throw new Error('The token file is incomplete.');
    done += read;
  }
  return values;
}

/** Opens a saved store, whose tokens are read from the file as needed. Returns null if it is missing or incomplete. */
export function openStore(folder: string): { readonly store: TokenStore; readonly details: Json } | null {
  let header: StoreHeader;
  let file: number;
  try {
    header = JSON.parse(readFileSync(path.join(folder, 'store.json'), 'utf8')) as StoreHeader;
    const tokens = header.pages.reduce((sum, page) => sum + page, 0);
    const expected = (header.samples * 4 + tokens) * 4;
    if (header.format !== FORMAT || statSync(path.join(folder, 'tokens.bin')).size !== expected) return null;
    file = openSync(path.join(folder, 'tokens.bin'), 'r');
  } catch {
    return null;
  }
  const { samples } = header;
  const weights = new Map(header.weights);
  const [pageOf, offsetOf, lengths, targets] = [0, 1, 2, 3].map((index) =>
    readInts(file, samples, index * samples * 4),
  ) as [Int32Array, Int32Array, Int32Array, Int32Array];
  let position = samples * 16;
  const pages = header.pages.map((tokens): Page => {
    const page = { file, position };
    position += tokens * 4;
    return page;
  });
  const store: TokenStore = {
    samples,
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
  return { store, details: header.details };
}
