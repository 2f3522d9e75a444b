import type { ForwardInput } from '@whetstone/core/contract';

/** The tokens of a pass that have to be computed, each once, and where they stand. */
export interface DistinctTokens {
  /** One of the places of each token: row · length + column. */
  readonly placeOf: Int32Array;
  /** The token of each place [rows × length]; 0 where a place holds none of them, as nothing looks there. */
  readonly tokenOf: Int32Array;
}

/** Share of the places that has to be saved: moving tokens to their places and back takes some hundredths of a pass. */
const LEAST_SAVED = 1 / 32;
/** Ids are smaller than this. */
const MOST_IDS = 2 ** 24;

/**
 * The tokens that hidden states at the `wanted` places depend on. Under a causal mask nothing sees what stands behind
 * the last wanted place of a segment, nor padding; and tokens with the same tokens before them have the same hidden
 * states in every layer, so that the beginning that segments share (a system message, a template's first words) is
 * computed once.
 *
 * @returns null where that would save too little
 */
export function distinctTokens(
  { rows, length, ids, segmentIds, positionIds }: ForwardInput,
  wanted: Int32Array,
): DistinctTokens | null {
  const isWanted = new Uint8Array(rows * length);
  for (const place of wanted) isWanted[place] = 1;
  const placeOf: number[] = [];
  const tokenOf = new Int32Array(rows * length);
  /** By the token before, and the id: which token that is. */
  const known = new Map<number, number>();
  for (let row = 0; row < rows; row++) {
    const rowEnd = (row + 1) * length;
    for (let start = row * length, end = start; start < rowEnd; start = end) {
      let last = -1;
      for (; end < rowEnd && segmentIds[end] === segmentIds[start]; end++) if (isWanted[end] === 1) last = end;
      let before = 0;
      for (let place = start; place <= last; place++) {
        // A piece of a longer text, whose beginning is elsewhere, is like no other.
        const key = positionIds[place] === place - start && before >= 0 ? before * MOST_IDS + (ids[place] ?? 0) : -1;
        let token = key < 0 ? undefined : known.get(key);
        if (token === undefined) {
          token = placeOf.length;
          placeOf.push(place);
          if (key >= 0) known.set(key, token);
        }
        tokenOf[place] = token;
        before = key < 0 ? -1 : token + 1;
      }
    }
  }
  return placeOf.length <= (1 - LEAST_SAVED) * rows * length ? { placeOf: Int32Array.from(placeOf), tokenOf } : null;
}
