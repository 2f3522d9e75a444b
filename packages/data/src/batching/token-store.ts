import { GrowingInts } from './growing-ints.js';

/** Ids and labels of many samples, compactly: one 32-bit number a token, whose top bits say whether the token is learned. */
export interface TokenStore {
  readonly samples: number;
  /** Adds a sample and returns its number. `learned[i]` is 1 where token i is learned. */
  add(ids: readonly number[], learned: Uint8Array): number;
  /** Tokens of a sample. */
  lengthOf(sample: number): number;
  /** Tokens of a sample that are learned and that something predicts. */
  targetsOf(sample: number): number;
  /** A sample's tokens from `start` up to `end`, packed; read them with {@link idOf} and {@link isLearned}. Do not write to it. */
  read(sample: number, start: number, end: number): Int32Array;
}

const LEARNED = 1 << 30;

export const idOf = (packed: number): number => packed & (LEARNED - 1);
export const isLearned = (packed: number): boolean => (packed & LEARNED) !== 0;

/** Tokens of a page. Samples never cross pages, so that each is one view. */
const PAGE_TOKENS = 1 << 20;

/** A store in memory: four bytes a token. */
export function createTokenStore(): TokenStore {
  const pages: Int32Array[] = [];
  const pageOf = new GrowingInts();
  const offsetOf = new GrowingInts();
  const lengths = new GrowingInts();
  const targets = new GrowingInts();
  let used = PAGE_TOKENS;

  return {
    get samples(): number {
      return lengths.length;
    },
    add(ids, learned) {
      if (used + ids.length > (pages.at(-1)?.length ?? 0)) {
        pages.push(new Int32Array(Math.max(PAGE_TOKENS, ids.length)));
        used = 0;
      }
      const page = pages.at(-1) as Int32Array;
      let count = 0;
      ids.forEach((id, index) => {
        const marked = learned[index] === 1;
        if (marked && index > 0) count++;
        page[used + index] = marked ? id | LEARNED : id;
      });
      pageOf.push(pages.length - 1);
      offsetOf.push(used);
      lengths.push(ids.length);
      targets.push(count);
      used += ids.length;
      return lengths.length - 1;
    },
    lengthOf: (sample) => lengths.at(sample),
    targetsOf: (sample) => targets.at(sample),
    read(sample, start, end) {
      const offset = offsetOf.at(sample);
      return (pages[pageOf.at(sample)] as Int32Array).subarray(offset + start, offset + end);
    },
  };
}
