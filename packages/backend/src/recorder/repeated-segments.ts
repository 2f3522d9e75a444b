import { createInterner } from './interner.js';
import type { Program } from './program.js';
import { findRepeats, type Repeat, type RepeatLimits } from './repeats.js';

/** Consecutive steps of a program: `start` to `end`, exclusive. */
export interface Segment {
  readonly start: number;
  readonly end: number;
}

/**
 * Returns groups of equal segments: the same operations, connected in the same way. Segments are cut where the fewest
 * results cross. Every group has two segments or more, and no two segments overlap.
 *
 * @param producers the step that computes each tensor: see `producersOf` in `program.ts`
 */
export function findRepeatedSegments(
  program: Program,
  producers: Int32Array,
  limits: RepeatLimits,
): readonly (readonly Segment[])[] {
  const symbols = stepSymbols(program);
  // A step with side effects equals no other step.
  program.steps.forEach(({ kernel }, position) => {
    if (kernel.hasSideEffects === true) symbols[position] = -1 - position;
  });
  const groups = new Map<string, Segment[]>();
  for (const repeat of findRepeats(symbols, limits)) {
    for (const segment of splitRepeat(program, producers, symbols, repeat)) {
      const key = segmentKey(program, producers, symbols, segment);
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [segment]);
      else group.push(segment);
    }
  }
  return [...groups.values()].filter(
    (segments) => segments.length > 1 && segments.every((segment) => isConnected(program, producers, segment)),
  );
}

/**
 * Returns one number per step. Steps with equal numbers do the same operation, on whatever tensors.
 *
 * @param shapeOf numbers the shape of a program input, if shapes are compiled into the program
 */
export function stepSymbols({ steps, types, inputTypes }: Program, shapeOf?: (input: number) => number): Int32Array {
  const number = createInterner<unknown>();
  const typeNumbers = types.map(number);
  const intern = createInterner<number>();
  return Int32Array.from(steps, ({ kernel, parameters, inputs, tensorInputs, outputs, controlInputs = [] }) => {
    // Each prefix of a step's description has a number. A prefix with one more item is a new pair of numbers.
    let symbol = 0;
    const append = (item: number): void => {
      symbol = intern(symbol * SYMBOL_BASE + item);
    };
    append(number(kernel));
    append(parameters.length === 0 ? 0 : number(parameters.join('|')));
    append(tensorInputs);
    append(outputs);
    append(controlInputs.length);
    for (const input of inputs) {
      append(typeNumbers[input] ?? 0);
      if (shapeOf !== undefined && input < inputTypes.length) append(shapeOf(input));
    }
    return symbol;
  });
}

const SYMBOL_BASE = 2 ** 24;

/**
 * Splits a repeat into segments. Among equally good cuts it chooses the one whose symbols are lexicographically first,
 * so that another repeat of the same period is cut at the same step.
 */
function splitRepeat(program: Program, producers: Int32Array, symbols: Int32Array, repeat: Repeat): Segment[] {
  const { start, period, end } = repeat;
  const crossings = countCrossings(program, producers, repeat);
  const second = start + period;
  let best = 0;
  for (let offset = 1; offset < period; offset++) {
    const more = (crossings[offset] ?? 0) - (crossings[best] ?? 0);
    if (more < 0 || (more === 0 && precedes(symbols, second + offset, second + best, period))) best = offset;
  }
  const count = Math.floor((end - start - best) / period);
  return Array.from({ length: count }, (_, index) => ({
    start: start + best + index * period,
    end: start + best + (index + 1) * period,
  }));
}

/** Returns, for each position of a repeat's second period, how many results are computed before and used after it. */
function countCrossings({ steps }: Program, producers: Int32Array, { start, period }: Repeat): Int32Array {
  const crossings = new Int32Array(period);
  const lastUses = new Map<number, number>();
  for (let position = start; position < start + 3 * period; position++) {
    for (const input of steps[position]?.inputs ?? []) {
      const producer = producers[input] ?? -1;
      if (producer >= start && position - producer < period) lastUses.set(input, position);
    }
  }
  const second = start + period;
  for (const [input, use] of lastUses) {
    const from = Math.max((producers[input] ?? -1) + 1, second);
    for (let position = from; position <= use && position < second + period; position++)
      crossings[position - second] = (crossings[position - second] ?? 0) + 1;
  }
  return crossings;
}

/** Returns whether the period at `a` is lexicographically before the one at `b`. */
function precedes(symbols: Int32Array, a: number, b: number, period: number): boolean {
  for (let offset = 0; offset < period; offset++) {
    const difference = (symbols[a + offset] ?? -1) - (symbols[b + offset] ?? -1);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/** Returns a key of a segment's operations and of the connections between them. */
function segmentKey({ steps }: Program, producers: Int32Array, symbols: Int32Array, { start, end }: Segment): string {
  const words: number[] = [];
  for (let position = start; position < end; position++) {
    const { inputs = [], controlInputs = [] } = steps[position] ?? {};
    words.push(symbols[position] ?? 0);
    for (const tensor of [...inputs, ...controlInputs]) {
      const producer = producers[tensor] ?? -1;
      if (producer < start) words.push(-1);
      else words.push(position - producer, tensor - (steps[producer]?.firstOutput ?? 0));
    }
  }
  return words.join();
}

/** Returns whether at least half of the steps use each other's results. A segment with fewer needs too many inputs. */
function isConnected({ steps }: Program, producers: Int32Array, { start, end }: Segment): boolean {
  const connected = steps
    .slice(start, end)
    .filter(({ inputs }) => inputs.some((input) => (producers[input] ?? -1) >= start));
  return 2 * connected.length >= end - start;
}
