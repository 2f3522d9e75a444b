import { formatError, isWhetstoneError, type Json, type Logger, type Problem } from '@whetstone/core/contract';
import { messageOf, visibleText } from '@whetstone/core/util';
import { createPaint, styledText, type Paint } from './styles.js';

/** The output of a command: text for people, and one JSON object for programs. */
export interface Terminal {
  /** Whether `--json` was given. Text for people then goes to standard error. */
  readonly json: boolean;
  /** Whether a line can be redrawn. */
  readonly interactive: boolean;
  /** The stream for text. */
  readonly stream: NodeJS.WriteStream;
  readonly paint: Paint;
  /**
   * Writes a line of text. A terminal and standard error show control characters as symbols, and the colours of
   * `paint`; a pipe or file on standard output receives exactly the text.
   */
  line(text?: string): void;
  /** Writes text without a line end, for streaming, as `line` does. */
  write(text: string): void;
  /** Replaces the line at the cursor by text. Does nothing unless a line can be redrawn. */
  redraw(text: string): void;
  /** Prints the JSON object. Does nothing without `--json`. */
  result(value: unknown): void;
  /** Writes an error or warning to standard error. Control characters are shown as symbols, also in a log file. */
  complain(text: string): void;
}

/** Uses colours and redrawing only on a terminal, and no colours if NO_COLOR is set. */
export function createTerminal(json: boolean): Terminal {
  const stream = json ? process.stderr : process.stdout;
  const interactive = stream.isTTY === true && process.env['TERM'] !== 'dumb';
  const paint = createPaint(interactive && !process.env['NO_COLOR']);
  const isExact = !json && stream.isTTY !== true;
  const shown = (text: string): string => (isExact ? text : styledText(text));
  return {
    json,
    interactive,
    stream,
    paint,
    line: (text = '') => void stream.write(`${shown(text)}\n`),
    write: (text) => void stream.write(shown(text)),
    redraw: (text) => {
      if (interactive) stream.write(`\r\u001B[K${visibleText(text)}`);
    },
    result: (value) => {
      if (json) process.stdout.write(`${JSON.stringify(value)}\n`);
    },
    complain: (text) => void process.stderr.write(`${styledText(text)}\n`),
  };
}

/** Returns an error as plain data. */
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

/** Returns the details of an error that JSON can represent, or null if there are none. */
function plainDetails(details: unknown): Json | null {
  try {
    const value = JSON.parse(JSON.stringify(details) ?? 'null') as Json;
    return typeof value === 'object' && value !== null && Object.keys(value).length > 0 ? value : null;
  } catch {
    return null;
  }
}

/** Formats an error for people. Only an unexpected error is shown with its stack. */
export function errorAsText(error: unknown, paint: Paint): string {
  if (isWhetstoneError(error)) {
    const text = visibleText(formatError(error));
    const cause =
      error.code !== 'INTERRUPTED' && error.cause instanceof Error && !error.message.includes(error.cause.message)
        ? '\n  cause:    ' +
          visibleText(
            isWhetstoneError(error.cause) ? formatError(error.cause).replaceAll('\n', '\n  ') : error.cause.message,
          )
        : '';
    return text.replace(/^\[[A-Z_]+\]/, (code) => paint.red(paint.bold(code))) + cause;
  }
  return (
    `${paint.red(paint.bold('[INTERNAL]'))} ` +
    visibleText(error instanceof Error ? (error.stack ?? error.message) : String(error))
  );
}

/** A logger for people: marks warnings and errors, and omits debug messages. */
export function terminalLogger(terminal: Terminal): Logger {
  return {
    debug: () => {},
    info: (message) => terminal.line(message),
    warn: (message) => terminal.complain(`${terminal.paint.yellow('warning:')} ${message}`),
    error: (message) => terminal.complain(`${terminal.paint.red('error:')} ${message}`),
  };
}
