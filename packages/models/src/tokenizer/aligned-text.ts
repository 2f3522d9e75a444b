/**
 * A text that was derived from another one, and which range of the original each of its UTF-16 units came from.
 * `starts` and `ends` are absent while the derived text is a slice of the original that begins at `base`: the common
 * case costs nothing.
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
  /**
   * Appends `piece`, which came from units `from` up to `to` of `source`: character k of it from character k there,
   * those beyond from the last one.
   */
  append(piece: string, from: number, to: number): void;
  finish(): AlignedText;
}

export function alignmentBuilder(source: AlignedText): AlignmentBuilder {
  let text = '';
  const starts: number[] = [];
  const ends: number[] = [];
  return {
    append(piece, from, to) {
      let at = from;
      for (const character of piece) {
        const start = originalStart(source, at);
        const end = originalEnd(source, at);
        for (let unit = 0; unit < character.length; unit++) {
          starts.push(start);
          ends.push(end);
        }
        const next = at + ((source.text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1);
        if (next < to) at = next;
      }
      text += piece;
    },
    finish: () => ({ text, base: source.base, starts, ends }),
  };
}

/**
 * Applies `change` to every stretch of the text that `stretches` matches and that is independent of one another,
 * keeping the alignment of each.
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
 * Replaces every match of `pattern`; a replacement stands where the last character of its match stood, as in Hugging
 * Face's reference.
 */
export function replaceMatches(
  source: AlignedText,
  pattern: RegExp,
  replacement: (match: string) => string,
): AlignedText {
  const builder = alignmentBuilder(source);
  let at = 0;
  for (const match of source.text.matchAll(pattern)) {
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
