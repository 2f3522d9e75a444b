import { scoreOf, type Additive } from './accumulate.js';
import type { Pair } from './chrf.js';

/** Limits of Tercom, which the search for shifts keeps to, and of sacrebleu. */
const LIMITS = { shiftLength: 10, shiftDistance: 50, beam: 25, candidates: 1000 } as const;

/** What an edit does with the next word: keep or replace it, delete one of the hypothesis, insert one. */
type Edit = 'keep' | 'replace' | 'delete' | 'insert';

interface Distance {
  readonly edits: number;
  /** The edits from the hypothesis to the reference, in order. */
  readonly trace: readonly Edit[];
}

const wordsOf = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '');

/**
 * Returns the edit distance of words near the diagonal. Of edits with the same cost, it prefers to keep or replace a
 * word, then to delete, then to insert one.
 */
function editDistance(hypothesis: readonly string[], reference: readonly string[]): Distance {
  const [rows, columns] = [hypothesis.length, reference.length];
  const ratio = rows === 0 ? 1 : columns / rows;
  const beam = LIMITS.beam < ratio / 2 ? Math.ceil(ratio / 2 + LIMITS.beam) : LIMITS.beam;
  const width = columns + 1;
  const costs = new Float64Array((rows + 1) * width).fill(Infinity);
  const edits = new Uint8Array((rows + 1) * width);
  for (let j = 0; j <= columns; j++) {
    costs[j] = j;
    edits[j] = 3;
  }
  const at = (row: number, column: number): number => costs[row * width + column] ?? Infinity;
  for (let i = 1; i <= rows; i++) {
    const diagonal = Math.floor(i * ratio);
    const last = i === rows ? columns : Math.min(columns, diagonal + beam - 1);
    for (let j = Math.max(0, diagonal - beam); j <= last; j++) {
      const same = j > 0 && hypothesis[i - 1] === reference[j - 1];
      const choices = [
        j === 0 ? Infinity : at(i - 1, j - 1) + (same ? 0 : 1),
        at(i - 1, j) + 1,
        j === 0 ? Infinity : at(i, j - 1) + 1,
      ];
      const cost = Math.min(...choices);
      const choice = choices.indexOf(cost);
      costs[i * width + j] = cost;
      edits[i * width + j] = choice === 0 ? (same ? 0 : 1) : choice + 1;
    }
  }
  return { edits: at(rows, columns), trace: traceOf(edits, rows, columns) };
}

/** Returns the edits on the way through the table of choices that ends in its last cell. */
function traceOf(choices: Uint8Array, rows: number, columns: number): Edit[] {
  const names = ['keep', 'replace', 'delete', 'insert'] as const;
  const trace: Edit[] = [];
  for (let [i, j] = [rows, columns]; i > 0 || j > 0;) {
    const edit = names[choices[i * (columns + 1) + j] ?? 0] ?? 'keep';
    trace.push(edit);
    if (edit !== 'insert') i--;
    if (edit !== 'delete') j--;
  }
  return trace.reverse();
}

/** For each word of the reference, the position in the hypothesis; and the words of both that are wrong. */
interface Alignment {
  readonly positions: readonly number[];
  readonly wrongReference: readonly boolean[];
  readonly wrongHypothesis: readonly boolean[];
}

function alignmentOf(trace: readonly Edit[]): Alignment {
  const positions: number[] = [];
  const [wrongReference, wrongHypothesis] = [[], []] as [boolean[], boolean[]];
  for (const edit of trace) {
    if (edit !== 'insert') wrongHypothesis.push(edit !== 'keep');
    if (edit === 'delete') continue;
    wrongReference.push(edit !== 'keep');
    positions.push(wrongHypothesis.length - 1);
  }
  return { positions, wrongReference, wrongHypothesis };
}

/** Yields the runs of words that hypothesis and reference have in common, each with all of its beginnings. */
function* commonRuns(
  hypothesis: readonly string[],
  reference: readonly string[],
): Generator<{ readonly from: number; readonly to: number; readonly length: number }> {
  for (let from = 0; from < hypothesis.length; from++)
    for (let to = 0; to < reference.length; to++) {
      if (Math.abs(to - from) > LIMITS.shiftDistance) continue;
      for (let length = 1; length <= LIMITS.shiftLength; length++) {
        const [own, other] = [hypothesis[from + length - 1], reference[to + length - 1]];
        if (own === undefined || own !== other) break;
        yield { from, to, length };
      }
    }
}

/** Moves `length` words that start at `from` before the word at `target`. */
function shifted(words: readonly string[], from: number, length: number, target: number): string[] {
  const moved = words.slice(from, from + length);
  const rest = [...words.slice(0, from), ...words.slice(from + length)];
  // A target behind the moved words counts them; one within them counts from their start.
  const at = target > from + length ? target - length : target;
  return [...rest.slice(0, at), ...moved, ...rest.slice(at)];
}

/** A hypothesis after a shift. `rank` orders shifts as Tercom does: the first number that differs decides. */
interface Shift {
  readonly rank: readonly number[];
  readonly words: readonly string[];
}

/** Returns whether a shift ranks before another. */
function isBetter(shift: Shift, than: Shift): boolean {
  for (const [index, value] of shift.rank.entries()) {
    const other = than.rank[index] ?? 0;
    if (value !== other) return value > other;
  }
  return false;
}

/** Returns the shift that saves most edits, and the number of shifts that were tried, with those before. */
function bestShift(
  words: readonly string[],
  reference: readonly string[],
  tried: number,
): { readonly best: Shift | null; readonly tried: number } {
  const before = editDistance(words, reference);
  const { positions, wrongReference, wrongHypothesis } = alignmentOf(before.trace);
  let best: Shift | null = null;
  for (const { from, to, length } of commonRuns(words, reference)) {
    if (!wrongHypothesis.slice(from, from + length).includes(true)) continue;
    if (!wrongReference.slice(to, to + length).includes(true)) continue;
    const position = positions[to] ?? -1;
    if (from <= position && position < from + length) continue;
    const targets = Array.from({ length: length + 1 }, (_, offset) => to + offset - 1)
      .filter((index) => index < positions.length)
      .map((index) => (index < 0 ? 0 : (positions[index] ?? 0) + 1));
    for (const target of targets.filter((each, index) => each !== targets[index - 1])) {
      const moved = shifted(words, from, length, target);
      const saved = before.edits - editDistance(moved, reference).edits;
      const shift = { rank: [saved, length, -from, -target], words: moved };
      if (best === null || isBetter(shift, best)) best = shift;
      tried++;
    }
    if (tried >= LIMITS.candidates) break;
  }
  return { best, tried };
}

/** Returns the edits, shifts included, that make a reference of a hypothesis. */
function editsBetween(hypothesis: readonly string[], reference: readonly string[]): number {
  if (reference.length === 0) return hypothesis.length;
  let [words, shifts, tried] = [hypothesis, 0, 0];
  for (;;) {
    const next = bestShift(words, reference, tried);
    tried = next.tried;
    if (tried >= LIMITS.candidates || next.best === null || (next.best.rank[0] ?? 0) <= 0) break;
    words = next.best.words;
    shifts++;
  }
  return shifts + editDistance(words, reference).edits;
}

/** Options of {@link ter}. */
export interface TerOptions {
  /** Whether upper and lower case differ; false by default. */
  readonly caseSensitive?: boolean;
  /** `words` splits at white space, `characters` is for languages without spaces. */
  readonly tokenize?: 'words' | 'characters';
}

/** The additive form of {@link ter}: edits, and words of the reference. */
export function additiveTer({ caseSensitive = false, tokenize = 'words' }: TerOptions = {}): Additive<Pair> {
  const split = (text: string): string[] => {
    const compared = caseSensitive ? text : text.toLowerCase();
    return tokenize === 'words' ? wordsOf(compared) : [...compared].filter((character) => character.trim() !== '');
  };
  return {
    statistics: ({ prediction, reference }) => {
      const expected = split(reference);
      return [editsBetween(split(prediction), expected), expected.length];
    },
    score: ([edits = 0, length = 0]) => (length > 0 ? (100 * edits) / length : edits > 0 ? 100 : 0),
  };
}

/**
 * Returns the translation edit rate (Snover et al. 2006) of a corpus: insertions, deletions, replacements and shifts of
 * words, per 100 words of the reference. Equal to that of sacrebleu. 0 is best; it can be above 100.
 */
export const ter = (pairs: readonly Pair[], options: TerOptions = {}): number => scoreOf(additiveTer(options), pairs);
