import { FNV_OFFSET, fnv1aStep } from '@whetstone/core/util';

/** A range of a sequence that repeats one period: every item after the first period equals the one a period before. */
export interface Repeat {
  readonly start: number;
  readonly period: number;
  /** End of the range, exclusive. The last period may be incomplete. */
  readonly end: number;
}

export interface RepeatLimits {
  /** Shortest period that counts. */
  readonly minPeriod: number;
  /** Fewest complete periods. */
  readonly minCount: number;
  /** Fewest items that a repeat must save: all but its first period. */
  readonly minSaved: number;
}

/** Limits for a model's layers. A function or module for shorter or rarer segments costs more than it saves. */
export const layerLimits: RepeatLimits = { minPeriod: 24, minCount: 3, minSaved: 100 };

/** Items in the window whose hash finds candidate positions. */
const WINDOW = 12;
/** Candidate periods that are examined, the most frequent first. */
const MAX_PERIODS = 24;
/** Earlier positions with an equal window that are compared: a period may contain shorter repeats. */
const MAX_EARLIER = 6;

/** Returns the repeats of a sequence, without overlap, the one that saves most first. */
export function findRepeats(symbols: Int32Array, limits: RepeatLimits): readonly Repeat[] {
  const free = new Uint8Array(symbols.length).fill(1);
  const periods = candidatePeriods(symbols, limits.minPeriod);
  const found: Repeat[] = [];
  for (;;) {
    let best: Repeat | null = null;
    let most = limits.minSaved - 1;
    for (const period of periods) {
      for (const repeat of repeatsOf(symbols, free, period, limits.minCount)) {
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

/** Returns the distances between equal windows, the most frequent first. */
function candidatePeriods(symbols: Int32Array, minPeriod: number): readonly number[] {
  const positions = new Map<number, number[]>();
  const counts = new Map<number, number>();
  for (let index = 0; index + WINDOW <= symbols.length; index++) {
    let hash = FNV_OFFSET;
    for (let offset = 0; offset < WINDOW; offset++) hash = fnv1aStep(hash, symbols[index + offset] ?? 0);
    const earlier = positions.get(hash) ?? [];
    for (const position of earlier) {
      const distance = index - position;
      if (distance >= minPeriod) counts.set(distance, (counts.get(distance) ?? 0) + 1);
    }
    earlier.push(index);
    if (earlier.length > MAX_EARLIER) earlier.shift();
    positions.set(hash, earlier);
  }
  return [...counts]
    .toSorted(([a, countA], [b, countB]) => countB - countA || a - b)
    .slice(0, MAX_PERIODS)
    .map(([period]) => period);
}

/** Returns the longest ranges of free items in which every item equals the one a period before. */
function repeatsOf(symbols: Int32Array, free: Uint8Array, period: number, minCount: number): Repeat[] {
  const repeats: Repeat[] = [];
  let start = 0;
  const close = (end: number): void => {
    if (end - start >= minCount * period) repeats.push({ start, period, end });
  };
  for (let index = 0; index < symbols.length; index++) {
    if (free[index] === 0) {
      close(index);
      start = index + 1;
    } else if (index - start >= period && symbols[index] !== symbols[index - period]) {
      close(index);
      start = index - period + 1;
    }
  }
  close(symbols.length);
  return repeats;
}
