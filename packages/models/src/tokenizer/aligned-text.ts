/**
 * A text that was derived from another one, and which range of the original each of its UTF-16 units came from.
 * `starts` and `ends` are absent while the derived text is a slice of the original that begins at `base`: the common case costs nothing.
 */
export interface AlignedText {
  readonly text: string;
  readonly base: number;
  readonly starts?: readonly number[];
  readonly ends?: readonly number[];
}

/** A slice of the original, unchanged. */
export function unchanged(text: string, base: number): AlignedText {
  return { text, base };
}

const isHighSurrogate = (unit: number): boolean => (unit & 0xfc00) === 0xd800;
const isLowSurrogate = (unit: number): boolean => (unit & 0xfc00) === 0xdc00;

/** Where the character that unit `index` belongs to begins in the original. */
export function originalStart(aligned: AlignedText, index: number): number {
  const { text, base, starts } = aligned;
  if (starts !== undefined) return starts[index] ?? base;
  const inside = isLowSurrogate(text.charCodeAt(index)) && index > 0 && isHighSurrogate(text.charCodeAt(index - 1));
  return base + (inside ? index - 1 : index);
}

/** Where the character that unit `index` belongs to ends in the original. */
export function originalEnd(aligned: AlignedText, index: number): number {
  const { text, base, ends } = aligned;
  if (ends !== undefined) return ends[index] ?? base;
  const pair = isHighSurrogate(text.charCodeAt(index)) && isLowSurrogate(text.charCodeAt(index + 1));
  return base + index + (pair ? 2 : 1);
}

/** Builds a derived text piece by piece. */
export interface AlignmentBuilder {
  /** Appends `piece`, made of units `from` up to `to` of `source`. */
  append(piece: string, from: number, to: number): void;
  finish(): AlignedText;
}

export function alignmentBuilder(source: AlignedText): AlignmentBuilder {
  let text = '';
  const starts: number[] = [];
  const ends: number[] = [];
  return {
    append(piece, from, to) {
      const sameLength = piece.length === to - from;
      const start = from < source.text.length ? originalStart(source, from) : originalEnd(source, Math.max(0, source.text.length - 1));
      const end = to > from ? originalEnd(source, to - 1) : start;
      for (let i = 0; i < piece.length; i++) {
        starts.push(sameLength ? originalStart(source, from + i) : start);
        ends.push(sameLength ? originalEnd(source, from + i) : end);
      }
      text += piece;
    },
    finish: () => ({ text, base: source.base, starts, ends }),
  };
}

/** Applies `change` to stretches of the text that `boundaries` says are independent of one another, keeping the alignment of each. */
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

/** Replaces every match of `pattern`; each replacement stands for the whole of what it replaces. */
export function replaceMatches(source: AlignedText, pattern: RegExp, replacement: (match: string) => string): AlignedText {
  const builder = alignmentBuilder(source);
  let at = 0;
  for (const match of source.text.matchAll(pattern)) {
    if (match.index > at) builder.append(source.text.slice(at, match.index), at, match.index);
    at = match.index + match[0].length;
    builder.append(replacement(match[0]), match.index, at);
  }
  if (at < source.text.length) builder.append(source.text.slice(at), at, source.text.length);
  return builder.finish();
}
