import { errorCodes, type ErrorCode } from './error-codes.js';

/** Where something is wrong: every part that is known. Lines and columns count from 1. */
export interface Place {
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
  /** A JSON path into a configuration or a record, as `strategy.options.rank`. */
  readonly path?: string;
  /** A tensor or parameter name. */
  readonly tensor?: string;
}

/** One of several things that are wrong at once. */
export interface Problem {
  readonly message: string;
  readonly place?: Place;
  readonly expected?: string;
  readonly found?: string;
  readonly hint?: string;
}

/** Details of a {@link WhetstoneError} besides its code and message. */
export interface WhetstoneErrorOptions extends Omit<Problem, 'message'> {
  /** Everything that is wrong, where it is more than one thing. */
  readonly problems?: readonly Problem[];
  /** Plain data for programs. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

const brand = Symbol.for('whetstone.error');

/**
 * The only error that Whetstone throws on purpose. `message` is a sentence without the code; `toString()` shows all of
 * it. Recognise it with {@link isWhetstoneError}: the check holds across duplicate installs of the package.
 */
export class WhetstoneError extends Error {
  override readonly name = 'WhetstoneError';
  readonly code: ErrorCode;
  readonly place: Place | undefined;
  readonly expected: string | undefined;
  readonly found: string | undefined;
  readonly hint: string | undefined;
  readonly problems: readonly Problem[];
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: WhetstoneErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.place = options.place;
    this.expected = options.expected;
    this.found = options.found;
    this.hint = options.hint;
    this.problems = options.problems ?? [];
    this.details = options.details ?? {};
    Object.defineProperty(this, brand, { value: true });
  }

  /**
   * Returns a copy of an error with some of its fields replaced, which may come from another installed copy of the
   * package. Its cause is the original error's, or the original error if it has none.
   */
  static with(
    error: WhetstoneError,
    { message, ...changes }: WhetstoneErrorOptions & { readonly message?: string },
  ): WhetstoneError {
    const { code, place, expected, found, hint, problems, details } = error;
    const cause = error.cause ?? error;
    const options = { place, expected, found, hint, problems, details, cause, ...changes };
    return new WhetstoneError(code, message ?? error.message, options);
  }

  /** Process exit code that fits this error: 2 for usage and configuration, 130 for an interruption, else 1. */
  get exitCode(): number {
    return errorCodes[this.code].exitCode;
  }

  override toString(): string {
    return formatError(this);
  }
}

/** True for a {@link WhetstoneError} of this or of another installed copy of the package. */
export function isWhetstoneError(value: unknown): value is WhetstoneError {
  return typeof value === 'object' && value !== null && (value as Record<symbol, unknown>)[brand] === true;
}

/** `data.jsonl:3:7`, `run.json at strategy.options.rank`, `tensor model.norm.weight`: whatever of a place is known. */
function formatPlace(place: Place): string {
  const { file, line, column, path, tensor } = place;
  const position = file === undefined ? '' : [file, line, column].filter((part) => part !== undefined).join(':');
  return [position, path === undefined ? '' : `at ${path}`, tensor === undefined ? '' : `tensor ${tensor}`]
    .filter(Boolean)
    .join(' ');
}

function formatProblem(problem: Problem, indent: string): string {
  const place = problem.place === undefined ? '' : formatPlace(problem.place);
  const lines = [place ? `${place}: ${problem.message}` : problem.message];
  if (problem.expected !== undefined) lines.push(`  expected: ${problem.expected}`);
  if (problem.found !== undefined) lines.push(`  found:    ${problem.found}`);
  if (problem.hint !== undefined) lines.push(`  hint:     ${problem.hint}`);
  return lines.map((line) => indent + line).join('\n');
}

/** The whole error for a person: code, place, message, expected, found, hint, then each further problem. */
export function formatError(error: WhetstoneError): string {
  const head = formatProblem(error, '');
  return [
    `[${error.code}] ${head}`,
    ...error.problems.map((problem) => formatProblem(problem, '  - ').replace(/\n {2}- /g, '\n    ')),
  ].join('\n');
}
