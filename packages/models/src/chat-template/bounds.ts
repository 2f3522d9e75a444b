/**
 * The bounds of one rendering. A template comes from a model folder or a user: it must neither compute for minutes nor
 * fill the memory. Every operation counts what it evaluates, reads and creates, so that the same template reaches the
 * same bound on every machine. `docs/errors.md` lists the bounds.
 */

/** Maximum number of nodes that are evaluated and items that are created. */
const MAX_STEPS = 2_000_000;
/** Maximum length of a text and of a rendered conversation in UTF-16 units: larger than any context. */
export const MAX_LENGTH = 16_000_000;
/** Maximum work on texts and lists: a unit is about a nanosecond or two bytes. */
const MAX_WORK = 256_000_000;
/** Maximum number of calls of macros, blocks and recursive loops within each other. */
const MAX_CALLS = 300;
/** Maximum depth of statements and expressions within each other in a template. */
export const MAX_NESTING = 200;
/** Maximum length of a template in UTF-16 units. */
export const MAX_TEMPLATE = 4_000_000;
/** Maximum number of items of a range, as in Jinja's sandbox. */
export const MAX_RANGE = 100_000;
/** Maximum number of items or UTF-16 units of a repetition (`*`). */
export const MAX_REPETITION = 1_000_000;
/** Maximum width or precision of a format, in characters. */
export const MAX_WIDTH = 1_000_000;
/** Maximum number of bits of an integer. */
export const MAX_BITS = 100_000;

/** Thrown if a template exceeds a bound. */
export class BoundExceeded extends Error {
  constructor(
    message: string,
    /** The bound in words, such as "at most 2000000 steps". */
    readonly bound: string,
  ) {
    super(message);
  }
}

/** Throws the error of a bound. `subject` says what is too large. */
export function exceeded(subject: string, most: number, unit: string): never {
  throw new BoundExceeded(`${subject} (more than ${most} ${unit})`, `at most ${most} ${unit}`);
}

/** Work for one unit of a text that an operation reads, and of a text that it creates. */
const READ = 4;
const WRITE = 2;
/** Work for one item of a list that an operation reads or copies. */
const ITEM = 8;
/** Work for one copy of a trace. */
const TRACE = 32;

interface Used {
  steps: number;
  work: number;
  calls: number;
}

/** What the present rendering used; null outside of a rendering. Rendering is synchronous. */
let used: Used | null = null;

/** Runs a rendering with its own bounds. */
export function bounded<T>(render: () => T): T {
  const outer = used;
  used = { steps: 0, work: 0, calls: 0 };
  try {
    return render();
  } finally {
    used = outer;
  }
}

/** Counts nodes that are evaluated, or items that are created. @throws `BoundExceeded` if there are too many */
export function countSteps(count: number): void {
  if (used === null) return;
  used.steps += count;
  if (used.steps > MAX_STEPS) exceeded('The template does not terminate', MAX_STEPS, 'steps');
}

function countWork(amount: number): void {
  if (used === null) return;
  used.work += amount;
  if (used.work > MAX_WORK) exceeded('The template computes too much on texts and lists', MAX_WORK, 'units of work');
}

/** Counts UTF-16 units of a text that an operation reads. @throws `BoundExceeded` if there are too many */
export const countRead = (units: number): void => countWork(READ * units);

/** Counts items of a list that an operation reads or copies. @throws `BoundExceeded` if there are too many */
export const countItems = (items: number): void => countWork(ITEM * items);

/** Counts copies of traces. @throws `BoundExceeded` if there are too many */
export const countTraces = (traces: number): void => countWork(TRACE * traces);

/** Counts an operation on integers. @throws `BoundExceeded` if an integer is too large, or there are too many */
export function countDigits(bits: number): void {
  if (bits > MAX_BITS) exceeded('An integer of the template is too large', MAX_BITS, 'bits');
  const words = bits / 64;
  countWork((words * words) / 4);
}

/** Counts a text that is going to be created. @throws `BoundExceeded` if it is too long, or there are too many */
export function countText(units: number): void {
  if (units > MAX_LENGTH) exceeded('A text of the template is too long', MAX_LENGTH, 'characters');
  countWork(WRITE * units);
}

/** Runs a call of a macro, block or recursive loop. @throws `BoundExceeded` if there are too many within each other */
export function countCall<T>(call: () => T): T {
  if (used === null) return call();
  if (++used.calls > MAX_CALLS) exceeded('The template has an infinite recursion', MAX_CALLS, 'calls in each other');
  const current = used;
  try {
    return call();
  } finally {
    current.calls--;
  }
}
