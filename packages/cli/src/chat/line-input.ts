import { createInterface, type Interface } from 'node:readline';
import { newSignals } from '../interrupt.js';
import { styledText } from '../styles.js';
import type { Terminal } from '../terminal.js';
import { bracketedPaste, pasteAsOneLine, withLineBreaks } from './paste.js';

/** The messages that a person types, or the lines of a file. */
export interface LineInput extends AsyncIterable<string> {
  /** Shows the prompt, on a terminal. */
  prompt(): void;
  /** Whether the input was left with Ctrl-C. */
  readonly wasLeft: boolean;
  close(): void;
}

export interface LineInputOptions {
  readonly terminal: Terminal;
  /** Stops the reply that is being written. Returns false if there is none. */
  stopReply(): boolean;
}

/**
 * Reads messages. On a terminal, pasted text of several lines is one message, and Ctrl-C at the prompt clears the line;
 * a second Ctrl-C leaves. Without a terminal, every line is a message and Ctrl-C leaves.
 */
export function createLineInput({ terminal, stopReply }: LineInputOptions): LineInput {
  const isTerminal = terminal.interactive && process.stdin.isTTY;
  const input = isTerminal ? process.stdin.pipe(pasteAsOneLine(process.stdin)) : process.stdin;
  const lines = createInterface({
    input,
    output: terminal.interactive ? process.stdout : undefined,
    terminal: isTerminal,
    prompt: styledText(terminal.paint.bold('> ')),
  });
  const isNew = newSignals();
  let isWarned = false;
  let wasLeft = false;
  const interrupted = (): void => {
    if (stopReply()) return;
    if (isTerminal && !isWarned) {
      isWarned = true;
      clearLine(lines);
      terminal.line(`\n${terminal.paint.dim('Ctrl-C again or Ctrl-D quits.')}`);
      lines.prompt();
      return;
    }
    wasLeft = true;
    lines.close();
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    if (isNew(signal)) interrupted();
  };
  const onKey = (_text: unknown, key: { readonly name?: string; readonly ctrl?: boolean } | undefined): void => {
    if (!(key?.ctrl === true && key.name === 'c')) isWarned = false;
  };
  lines.on('SIGINT', interrupted);
  input.on('keypress', onKey);
  process.on('SIGINT', onSignal);
  if (isTerminal) process.stdout.write(bracketedPaste.on);
  return {
    prompt: () => {
      if (terminal.interactive) lines.prompt();
    },
    get wasLeft() {
      return wasLeft;
    },
    async *[Symbol.asyncIterator]() {
      for await (const line of lines) yield withLineBreaks(line);
    },
    close() {
      process.off('SIGINT', onSignal);
      input.off('keypress', onKey);
      lines.close();
      if (!isTerminal) return;
      process.stdout.write(bracketedPaste.off);
      process.stdin.unpipe();
      process.stdin.pause();
    },
  };
}

/** Removes what was typed at the prompt. */
function clearLine(lines: Interface): void {
  lines.write(null, { ctrl: true, name: 'e' });
  lines.write(null, { ctrl: true, name: 'u' });
}
