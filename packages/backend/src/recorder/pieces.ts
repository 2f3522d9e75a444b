import { numbering } from './numbering.js';
import type { Program } from './program.js';
import { findRepeats, type Repeat, type RepeatLimits } from './repeats.js';

/** Successive steps of a program: `start` to one before `end`. */
export interface Piece {
  readonly start: number;
  readonly end: number;
}

/**
 * Groups of pieces that do the same: the same operations, that take the same from one another. A piece is cut where the
 * fewest results go from one to the next. Groups have two pieces or more; no two pieces overlap.
 */
export function alikePieces(
  program: Program,
  producers: Int32Array,
  limits: RepeatLimits,
): readonly (readonly Piece[])[] {
  const letters = lettersOf(program);
  // What has effects is like nothing else.
  program.steps.forEach(({ kernel }, position) => {
    if (kernel.hasEffects === true) letters[position] = -1 - position;
  });
  const groups = new Map<string, Piece[]>();
  for (const repeat of findRepeats(letters, limits)) {
    for (const piece of cutUp(program, producers, letters, repeat)) {
      const key = spell(program, producers, letters, piece);
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [piece]);
      else group.push(piece);
    }
  }
  return [...groups.values()].filter(
    (pieces) => pieces.length > 1 && pieces.every((piece) => isKnit(program, producers, piece)),
  );
}

/**
 * For each step a number that says what it does, though not on which tensors.
 *
 * @param shapeOf a number for the shape of an input of the program, where shapes are part of what is compiled
 */
export function lettersOf({ steps, types, inputTypes }: Program, shapeOf?: (input: number) => number): Int32Array {
  const number = numbering<unknown>();
  const typeNumbers = types.map(number);
  const word = numbering<number>();
  return Int32Array.from(steps, ({ kernel, parameters, inputs, tensorInputs, outputs, after = [] }) => {
    let letter = 0;
    // The words so far have a number, and with one more word another.
    const say = (next: number): void => {
      letter = word(letter * MOST_NUMBERS + next);
    };
    say(number(kernel));
    say(parameters.length === 0 ? 0 : number(parameters.join('|')));
    say(tensorInputs);
    say(outputs);
    say(after.length);
    for (const input of inputs) {
      say(typeNumbers[input] ?? 0);
      if (shapeOf !== undefined && input < inputTypes.length) say(shapeOf(input));
    }
    return letter;
  });
}

const MOST_NUMBERS = 2 ** 24;

/**
 * The pieces of a repeat. Of the places where it may be cut equally well the one is taken whose letters come first:
 * another repeat of the same piece is cut at the same place.
 */
function cutUp(program: Program, producers: Int32Array, letters: Int32Array, repeat: Repeat): Piece[] {
  const { start, period, end } = repeat;
  const crossing = crossingsOf(program, producers, repeat);
  const model = start + period;
  let best = 0;
  for (let place = 1; place < period; place++) {
    const more = (crossing[place] ?? 0) - (crossing[best] ?? 0);
    if (more < 0 || (more === 0 && comesFirst(letters, model + place, model + best, period))) best = place;
  }
  const count = Math.floor((end - start - best) / period);
  return Array.from({ length: count }, (_, index) => ({
    start: start + best + index * period,
    end: start + best + (index + 1) * period,
  }));
}

/**
 * For each place in the second period of a repeat, how many results of the period before it are taken by the period
 * behind it.
 */
function crossingsOf({ steps }: Program, producers: Int32Array, { start, period }: Repeat): Int32Array {
  const crossing = new Int32Array(period);
  const lastUses = new Map<number, number>();
  for (let position = start; position < start + 3 * period; position++) {
    for (const input of steps[position]?.inputs ?? []) {
      const producer = producers[input] ?? -1;
      if (producer >= start && position - producer < period) lastUses.set(input, position);
    }
  }
  for (const [input, use] of lastUses) {
    const from = Math.max((producers[input] ?? -1) + 1, start + period);
    for (let place = from; place <= use && place < start + 2 * period; place++)
      crossing[place - start - period] = (crossing[place - start - period] ?? 0) + 1;
  }
  return crossing;
}

function comesFirst(letters: Int32Array, a: number, b: number, period: number): boolean {
  for (let offset = 0; offset < period; offset++) {
    const difference = (letters[a + offset] ?? -1) - (letters[b + offset] ?? -1);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/** A piece in letters, with what its steps take from one another. */
function spell({ steps }: Program, producers: Int32Array, letters: Int32Array, { start, end }: Piece): string {
  const words: number[] = [];
  for (let position = start; position < end; position++) {
    const { inputs = [], after = [] } = steps[position] ?? {};
    words.push(letters[position] ?? 0);
    for (const tensor of [...inputs, ...after]) {
      const producer = producers[tensor] ?? -1;
      if (producer < start) words.push(-1);
      else words.push(position - producer, tensor - (steps[producer]?.firstOutput ?? 0));
    }
  }
  return words.join();
}

/**
 * Whether half of its steps or more take something from one another: else it has more inputs and outputs than it saves
 * steps.
 */
function isKnit({ steps }: Program, producers: Int32Array, { start, end }: Piece): boolean {
  const knit = steps
    .slice(start, end)
    .filter(({ inputs }) => inputs.some((input) => (producers[input] ?? -1) >= start));
  return 2 * knit.length >= end - start;
}
