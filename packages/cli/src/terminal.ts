import { formatError, isWhetstoneError, type Json, type Logger, type Problem } from '@whetstone/core/contract';
import colors from 'picocolors';
import { messageOf } from '@whetstone/core/util';

/** Where a command writes: text for people, and one object for programs. */
export interface Terminal {
  /** Whether one machine-readable object is wanted; text for people then goes to standard error. */
  readonly json: boolean;
  /** Whether progress can be redrawn in place. */
  readonly interactive: boolean;
  /** The stream for people. */
  readonly stream: NodeJS.WriteStream;
  readonly paint: ReturnType<typeof colors.createColors>;
  /** A line for people. */
  line(text?: string): void;
  /** Text without a line end, for streaming. */
  write(text: string): void;
  /** The machine-readable object; printed last, and only under `--json`. */
  result(value: unknown): void;
  /** An error or warning for people, on standard error. */
  complain(text: string): void;
}

/** Colours and redrawing only where the stream is a terminal, and never under NO_COLOR. */
export function createTerminal(json: boolean): Terminal {
  const stream = json ? process.stderr : process.stdout;
  return {
    json,
    interactive: stream.isTTY === true && process.env['TERM'] !== 'dumb',
    stream,
    paint: colors.createColors(stream.isTTY === true && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb'),
    line: (text = '') => void stream.write(`${text}\n`),
    write: (text) => void stream.write(text),
    result: (value) => {
      if (json) process.stdout.write(`${JSON.stringify(value)}\n`);
    },
    complain: (text) => void process.stderr.write(`${text}\n`),
  };
}

/** What is known of an error, as plain data. */
export function errorAsJson(error: unknown): { readonly error: Json } {
  if (!isWhetstoneError(error)) return { error: { code: 'INTERNAL', message: messageOf(error) } };
  const plain = ({ message, place, expected, found, hint }: Problem): Json =>
    JSON.parse(JSON.stringify({ message, place, expected, found, hint })) as Json;
  const details = plainDetails(error.details);
  return {
    error: {
      code: error.code,
      ...(plain(error) as Record<string, Json>),
      problems: error.problems.map(plain),
      ...(details === null ? {} : { details }),
    },
  };
}

/** What an error knows besides, as far as JSON holds it; null where that is nothing. */
function plainDetails(details: unknown): Json | null {
  try {
    const value = JSON.parse(JSON.stringify(details) ?? 'null') as Json;
    return typeof value === 'object' && value !== null && Object.keys(value).length > 0 ? value : null;
  } catch {
    return null;
  }
}

/** An error for a person: whole and without a stack where it is ours, with its stack where it is a mistake of ours. */
export function errorAsText(error: unknown, paint: Terminal['paint']): string {
  if (isWhetstoneError(error)) {
    const text = formatError(error);
    const cause =
      error.code !== 'INTERRUPTED' && error.cause instanceof Error && !error.message.includes(error.cause.message)
        ? '\n  cause:    ' +
          `${isWhetstoneError(error.cause) ? formatError(error.cause).replaceAll('\n', '\n  ') : error.cause.message}`
        : '';
    return text.replace(/^\[[A-Z_]+\]/, (code) => paint.red(paint.bold(code))) + cause;
  }
  return (
    `${paint.red(paint.bold('[INTERNAL]'))} ` +
    `${error instanceof Error ? (error.stack ?? error.message) : String(error)}`
  );
}

/** A log for people: information as it is, warnings and errors marked, debugging left out. */
export function terminalLogger(terminal: Terminal): Logger {
  return {
    debug: () => {},
    info: (message) => terminal.line(message),
    warn: (message) => terminal.complain(`${terminal.paint.yellow('warning:')} ${message}`),
    error: (message) => terminal.complain(`${terminal.paint.red('error:')} ${message}`),
  };
}
