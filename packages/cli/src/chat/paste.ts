import { StringDecoder } from 'node:string_decoder';
import { Transform, type TransformCallback } from 'node:stream';

/** What a terminal sends before and after pasted text, once bracketed paste is on. */
const BEGIN = '\u001B[200~';
const END = '\u001B[201~';

/** Turns bracketed paste of a terminal on and off. */
export const bracketedPaste = { on: '\u001B[?2004h', off: '\u001B[?2004l' } as const;

/** What stands for a line break of pasted text while the message is edited in one line. */
const LINE_BREAK = '⏎';

/** Returns a message with the line breaks that it was pasted with. */
export const withLineBreaks = (line: string): string => line.replaceAll(LINE_BREAK, '\n');

/** Returns pasted text as the line editor takes it: without line ends and other control characters. */
const editable = (text: string): string =>
  text.replaceAll(/\r\n?|\n/g, LINE_BREAK).replaceAll(/\p{Cc}/gu, (control) => (control === '\t' ? control : ''));

/** How long the beginning of a marker is held back, in milliseconds: the escape key sends the same character. */
const HOLD = 50;

/** Returns how many characters at the end of a text can be the beginning of a marker. */
function beginsMarker(text: string, marker: string): number {
  for (let length = Math.min(marker.length - 1, text.length); length > 0; length--)
    if (text.endsWith(marker.slice(0, length))) return length;
  return 0;
}

/**
 * Returns a stream between a terminal and a line editor, in which the line breaks of pasted text do not end the line.
 *
 * @param terminal the terminal, whose raw mode the line editor sets through the stream
 */
export function pasteAsOneLine(terminal: NodeJS.ReadStream): Transform {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  let isPasted = false;
  const take = (text: string): string => {
    const marker = isPasted ? END : BEGIN;
    const at = text.indexOf(marker);
    const wasPasted = isPasted;
    if (at < 0) {
      const kept = beginsMarker(text, marker);
      rest = text.slice(text.length - kept);
      const taken = text.slice(0, text.length - kept);
      return wasPasted ? editable(taken) : taken;
    }
    isPasted = !isPasted;
    const before = text.slice(0, at);
    return (wasPasted ? editable(before) : before) + take(text.slice(at + marker.length));
  };
  let held: NodeJS.Timeout | undefined;
  const release = (): string => {
    const text = rest;
    rest = '';
    return text;
  };
  const stream = new Transform({
    transform(chunk: Buffer, _encoding, done: TransformCallback) {
      clearTimeout(held);
      const text = release() + decoder.write(chunk);
      done(null, take(text));
      if (rest === BEGIN[0] && !isPasted) held = setTimeout(() => stream.push(release()), HOLD);
    },
    flush(done: TransformCallback) {
      clearTimeout(held);
      done(null, release());
    },
  });
  return Object.assign(stream, {
    isTTY: true,
    setRawMode(mode: boolean) {
      terminal.setRawMode(mode);
      return stream;
    },
  });
}
