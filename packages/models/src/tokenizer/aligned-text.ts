import type { FindMatches } from './patterns.js';

/**
 * A text derived from an original text. `starts` and `ends` give the range of the original for each UTF-16 unit. They
 * are absent if the text is a slice of the original that begins at `base`, which is the common case.
 */
export interface AlignedText {
  readonly text: string;
  readonly base: number;
  readonly starts?: readonly number[];
  readonly ends?: readonly number[];
}

/** Returns an unchanged slice of the original that begins at `base`. */
export function unchanged(text: string, base: number): AlignedText {
  return { text, base };
}

const isHighSurrogate = (unit: number): boolean => (unit & 0xfc00) === 0xd800;
const isLowSurrogate = (unit: number): boolean => (unit & 0xfc00) === 0xdc00;

/** Returns the start, in the original, of the character that contains unit `index`. */
export function originalStart(aligned: AlignedText, index: number): number {
  const { text, base, starts } = aligned;
  if (starts !== undefined) return starts[index] ?? base;
  const inside = isLowSurrogate(text.charCodeAt(index)) && index > 0 && isHighSurrogate(text.charCodeAt(index - 1));
  return base + (inside ? index - 1 : index);
}

/** Returns the end, in the original, of the character that contains unit `index`. */
export function originalEnd(aligned: AlignedText, index: number): number {
  const { text, base, ends } = aligned;
  if (ends !== undefined) return ends[index] ?? base;
  const pair = isHighSurrogate(text.charCodeAt(index)) && isLowSurrogate(text.charCodeAt(index + 1));
  return base + index + (pair ? 2 : 1);
}

/** Builds a derived text from left to right. */
export interface AlignmentBuilder {
  /**
   * Appends `addition`, derived from units `from` to `to` (exclusive) of `source`. Character k is aligned with
   * character k of that range; further characters are aligned with its last character.
   */
  append(addition: string, from: number, to: number): void;
  finish(): AlignedText;
}

/** Creates a builder of a text that is derived from `source`. */
export function alignmentBuilder(source: AlignedText): AlignmentBuilder {
  let text = '';
  const starts: number[] = [];
  const ends: number[] = [];
  return {
    append(addition, from, to) {
      let at = from;
      for (const character of addition) {
        const start = originalStart(source, at);
        const end = originalEnd(source, at);
        for (let unit = 0; unit < character.length; unit++) {
          starts.push(start);
          ends.push(end);
        }
        const next = at + ((source.text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1);
        if (next < to) at = next;
      }
      text += addition;
    },
    finish: () => ({ text, base: source.base, starts, ends }),
  };
}

/**
 * Applies `change` to every match of `stretches` and to the text between matches. Each is aligned with its own range,
 * so the results of `change` must not depend on the surrounding text.
 */
export function mapStretches(source: AlignedText, stretches: RegExp, change: (stretch: string) => string): AlignedText {
  const builder = alignmentBuilder(source);
  let at = 0;
  for (const match of source.text.matchAll(stretches)) {
    if (match.index > at) builder.append(change(source.text.slice(at, match.index)), at, match.index);
    at = match.index + match[0].length;
    builder.append(change(match[0]), match.index, at);
  }
  if (at < source.text.length) builder.append(change(source.text.slice(at)), at, source.text.length);
  return builder.finish();
}

/**
 * Replaces every match of a search. A replacement is aligned with the last character of its match, as in Hugging
 * Face's reference implementation.
 */
export function replaceMatches(
  source: AlignedText,
  search: FindMatches,
  replacement: (match: string) => string,
): AlignedText {
  const builder = alignmentBuilder(source);
  let at = 0;
  for (const match of search(source.text)) {
    if (match.index > at) builder.append(source.text.slice(at, match.index), at, match.index);
    at = match.index + match[0].length;
    const last = at - 1;
    if (match[0] !== '')
      builder.append(
        replacement(match[0]),
        isLowSurrogate(source.text.charCodeAt(last)) && last > match.index ? last - 1 : last,
        at,
      );
  }
  if (at < source.text.length) builder.append(source.text.slice(at), at, source.text.length);
  return builder.finish();
}
