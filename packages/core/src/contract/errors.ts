import { errorCodes, type ErrorCode } from './error-codes.js';

/** The position of an error, as far as it is known. Lines and columns count from 1. */
export interface Place {
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
  /** A JSON path in a configuration or a record, for example `strategy.options.rank`. */
  readonly path?: string;
  /** The name of a tensor or parameter. */
  readonly tensor?: string;
}

/** One of several problems that are reported together. */
export interface Problem {
  /** A sentence that says what is wrong. */
  readonly message: string;
  readonly place?: Place;
  /** The value or form that would be correct. */
  readonly expected?: string;
  /** The value that was found instead. */
  readonly found?: string;
  /** A sentence that says what to do. */
  readonly hint?: string;
}

/** The fields of a {@link WhetstoneError} in addition to its code and message. */
export interface WhetstoneErrorOptions extends Omit<Problem, 'message'> {
  /** All problems, if there are several. */
  readonly problems?: readonly Problem[];
  /** Plain data for applications that handle the error. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

const brand = Symbol.for('whetstone.error');

/**
 * The error class of Whetstone: every error that it reports to users is one. `message` is a sentence without the code;
 * `toString()` shows all fields. Test for it with {@link isWhetstoneError} instead of `instanceof`: the check also
 * works if two copies of the package are installed.
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
   * Returns a copy of an error with some of its fields replaced. The error may come from another installed copy of the
   * package. The cause of the copy is the cause of the original, or the original itself if it has none.
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

  /** The exit code of the command: 2 for usage and configuration, 130 for an interruption, 1 otherwise. */
  get exitCode(): number {
    return errorCodes[this.code].exitCode;
  }

  override toString(): string {
    return formatError(this);
  }
}

/** Returns whether a value is a {@link WhetstoneError}, of this or of another installed copy of the package. */
export function isWhetstoneError(value: unknown): value is WhetstoneError {
  return typeof value === 'object' && value !== null && (value as Record<symbol, unknown>)[brand] === true;
}

/**
 * Formats the known fields of a place: `data.jsonl:3:7`, `run.json at strategy.options.rank`, `tensor lm_head.weight`.
 */
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

/** Formats an error for display: code, place, message, expected, found and hint, then each further problem. */
export function formatError(error: WhetstoneError): string {
  const head = formatProblem(error, '');
  return [
    `[${error.code}] ${head}`,
    ...error.problems.map((problem) => formatProblem(problem, '  - ').replace(/\n {2}- /g, '\n    ')),
  ].join('\n');
}
