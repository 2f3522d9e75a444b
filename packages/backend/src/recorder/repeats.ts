/**
 * A stretch of a sequence that is one piece over and over: every item behind the first `period` is the one a period
 * before.
 */
export interface Repeat {
  readonly start: number;
  readonly period: number;
  /** One behind its last item; what is left at the end may be less than a period. */
  readonly end: number;
}

export interface RepeatLimits {
  /** Shortest piece that counts. */
  readonly leastPeriod: number;
  /** How often it has to be there. */
  readonly leastCount: number;
  /** Fewest items that a stretch has to save: all but its first period. */
  readonly leastSaved: number;
}

/**
 * A model's layers: a piece of fewer operations is not worth a call, one that is there only twice not worth a function
 * or a module of its own.
 */
export const layerLimits: RepeatLimits = { leastPeriod: 24, leastCount: 3, leastSaved: 100 };

/** Items by which places that may be alike are found. */
const WINDOW = 12;
/** How many distances between such places are looked at, the most frequent ones. */
const MOST_PERIODS = 24;
/** Earlier places like this one that are compared with it: a piece may hold smaller ones that repeat. */
const MOST_EARLIER = 6;

/** The stretches of a sequence that repeat, the one that saves most first; they do not overlap. */
export function findRepeats(letters: Int32Array, limits: RepeatLimits): readonly Repeat[] {
  const free = new Uint8Array(letters.length).fill(1);
  const periods = likelyPeriods(letters, limits.leastPeriod);
  const found: Repeat[] = [];
  for (;;) {
    let best: Repeat | null = null;
    let most = limits.leastSaved - 1;
    for (const period of periods) {
      for (const repeat of repeatsOf(letters, free, period, limits.leastCount)) {
        const saved = repeat.end - repeat.start - period;
        if (saved <= most) continue;
        most = saved;
        best = repeat;
      }
    }
    if (best === null) return found;
    found.push(best);
    free.fill(0, best.start, best.end);
  }
}

/** Distances at which the same items come again, the most frequent first. */
function likelyPeriods(letters: Int32Array, least: number): readonly number[] {
  const places = new Map<number, number[]>();
  const counts = new Map<number, number>();
  for (let index = 0; index + WINDOW <= letters.length; index++) {
    let hash = 0x811c9dc5;
    for (let offset = 0; offset < WINDOW; offset++) hash = Math.imul(hash ^ (letters[index + offset] ?? 0), 0x01000193);
    const earlier = places.get(hash) ?? [];
    for (const place of earlier)
      if (index - place >= least) counts.set(index - place, (counts.get(index - place) ?? 0) + 1);
    earlier.push(index);
    if (earlier.length > MOST_EARLIER) earlier.shift();
    places.set(hash, earlier);
  }
  return [...counts]
    .toSorted(([a, many], [b, more]) => more - many || a - b)
    .slice(0, MOST_PERIODS)
    .map(([period]) => period);
}

/** The longest stretches of free items in which every item is the one a period before. */
function repeatsOf(letters: Int32Array, free: Uint8Array, period: number, leastCount: number): Repeat[] {
  const repeats: Repeat[] = [];
  let start = 0;
  const close = (end: number): void => {
    if (end - start >= leastCount * period) repeats.push({ start, period, end });
  };
  for (let index = 0; index < letters.length; index++) {
    if (free[index] === 0) {
      close(index);
      start = index + 1;
    } else if (index - start >= period && letters[index] !== letters[index - period]) {
      close(index);
      start = index - period + 1;
    }
  }
  close(letters.length);
  return repeats;
}
