import type { TextSpan } from '@whetstone/core/contract';
import { countRead } from './bounds.js';

/** A turn of the assistant with the results of tools in it. */
export interface ResultsInTurn {
  readonly text: string;
  readonly turn: TextSpan;
  /** What came from results, sorted and separate. */
  readonly results: readonly TextSpan[];
  /** What came from the assistant, sorted by its start. */
  readonly own: readonly TextSpan[];
  /** Texts of the assistant that templates repeat with a result: the names and ids of its calls. */
  readonly repeated: readonly string[];
  /** The header of the assistant's turns; may be empty. */
  readonly header: string;
}

/** A marker of a template, such as `<tool_response>`; `word` has its letters without "begin", "start" and "end". */
interface Marker extends TextSpan {
  readonly word: string;
  /** Whether it ends what another marker starts: `</…>`, `[/…]`, `<…|>`, or with "end" in it. */
  readonly closes: boolean;
}

/**
 * Returns the spans of results with what the template writes around them: pairs of markers with the same word, such as
 * `<tool_response>` and `</tool_response>`, text between two results, and headers of the turns before and after.
 */
export function frameResults(inputs: ResultsInTurn): TextSpan[] {
  const { results, turn, own } = inputs;
  const framed: TextSpan[] = [];
  for (const [at, result] of results.entries()) {
    const next = results[at + 1];
    const from = framed.at(-1)?.end ?? turn.start;
    const to = next?.start ?? turn.end;
    let span = withHeaders(inputs, withMarkers(inputs, result, from, to), from, to);
    // A turn ends without white space.
    const before = own.findLast(({ end }) => end <= span.start)?.end ?? from;
    while (span.start < result.start && span.start > before && /\s/.test(inputs.text.charAt(span.start - 1)))
      span = { start: span.start - 1, end: span.end };
    // Between two results the assistant wrote nothing, or only what the template repeats.
    const last = framed.at(-1);
    if (last !== undefined && !own.some((one) => one.start >= last.end && one.end <= span.start)) {
      framed.pop();
      span = { start: last.start, end: span.end };
    }
    framed.push(span);
  }
  return framed;
}

/** Adds the pairs of markers around a result, from the innermost to the outermost. */
function withMarkers(inputs: ResultsInTurn, result: TextSpan, from: number, to: number): TextSpan {
  const { text, own, repeated } = inputs;
  const isRepeated = ({ start, end }: TextSpan): boolean => repeated.includes(text.slice(start, end));
  const firstAfter = own.find(({ start, end }) => start >= result.end && end <= to);
  const lastBefore = own.findLast(
    ({ start, end }) => end <= result.start && start >= from && !isRepeated({ start, end }),
  );
  const before = markersIn(text, lastBefore?.end ?? from, result.start);
  const after = markersIn(text, result.end, firstAfter?.start ?? to);
  let { start, end } = result;
  for (const closing of after) {
    if (!closing.closes) continue;
    const opening = before.findLast((marker) => marker.word === closing.word && !marker.closes && marker.end <= start);
    if (opening === undefined) continue;
    start = opening.start;
    end = closing.end;
  }
  return { start, end };
}

/** Adds the headers of turns: if one of the assistant follows a result, the turn before the result ended before it. */
function withHeaders({ text, own, header }: ResultsInTurn, result: TextSpan, from: number, to: number): TextSpan {
  if (header.trim() === '') return result;
  const next = own.find(({ start }) => start >= result.end)?.start ?? to;
  const at = text.slice(result.end, next).indexOf(header.trimEnd());
  if (at < 0) return result;
  let end = result.end + at + header.trimEnd().length;
  while (end < next && /\s/.test(text.charAt(end))) end++;
  const [stop] = markersIn(text, result.end, result.end + at);
  const previous = own.findLast((one) => one.end <= result.start)?.end ?? from;
  if (stop === undefined) return { start: result.start, end };
  const written = text.slice(stop.start, stop.end);
  const stopAt = text.slice(previous, result.start).indexOf(written);
  return { start: stopAt < 0 ? result.start : previous + stopAt + written.length, end };
}

/** Longest text of a marker. */
const LONGEST_MARKER = 64;
const CLOSING: Readonly<Record<string, string>> = { '<': '>', '[': ']' };

/** Returns the markers in `text[from, to)`. */
export function markersIn(text: string, from: number, to: number): Marker[] {
  countRead(Math.max(0, to - from));
  const found: Marker[] = [];
  let start = -1;
  for (let at = from; at < to; at++) {
    const letter = text.charAt(at);
    if (letter in CLOSING) start = at;
    else if (start >= 0 && letter === CLOSING[text.charAt(start)]) {
      if (at - start < LONGEST_MARKER) found.push(markerOf(text, start, at + 1));
      start = -1;
    }
  }
  return found.filter(({ word }) => word !== '');
}

function markerOf(text: string, start: number, end: number): Marker {
  const inside = text.slice(start + 1, end - 1).toLowerCase();
  const words: readonly string[] = inside.match(/[a-z]+/g) ?? [];
  return {
    start,
    end,
    word: words.filter((word) => !['begin', 'start', 'end'].includes(word)).join(' '),
    closes:
      inside.startsWith('/') ||
      inside.startsWith('|/') ||
      (inside.endsWith('|') && !inside.startsWith('|')) ||
      words.includes('end'),
  };
}
