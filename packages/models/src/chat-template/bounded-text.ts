/** Operations on texts in linear time, whose result is counted before it is created. */
import { countRead, countSteps, countText } from './bounds.js';

/** Repeats a text. @throws `BoundExceeded` if the result is too long */
export function repeated(unit: string, count: number): string {
  if (count <= 0 || unit === '') return '';
  countText(unit.length * count);
  return unit.repeat(count);
}

/** Joins texts. @throws `BoundExceeded` if the result is too long */
export function joinedTexts(parts: readonly string[], separator = ''): string {
  let length = separator.length * Math.max(0, parts.length - 1);
  for (const part of parts) length += part.length;
  countText(length);
  return parts.join(separator);
}

/** The characters of a text, as Python counts them. */
export function charactersOf(text: string): string[] {
  countRead(4 * text.length);
  return Array.from(text);
}

/** Returns whether a text has no surrogates, so that each of its UTF-16 units is a character. */
export const isSimple = (text: string): boolean => !/[\ud800-\udfff]/.test(text);

/** Returns the number of characters of a text, as Python counts them. */
export function characterCount(text: string): number {
  countRead(text.length);
  let pairs = 0;
  for (let at = 1; at < text.length; at++)
    if ((text.charCodeAt(at) & 0xfc00) === 0xdc00 && (text.charCodeAt(at - 1) & 0xfc00) === 0xd800) pairs++;
  return text.length - pairs;
}

/** Returns the text without the units at its ends for which `isRemoved` is true. */
export function trimmed(text: string, isRemoved: (unit: number) => boolean, left = true, right = true): string {
  let start = 0;
  let end = text.length;
  if (left) while (start < end && isRemoved(text.charCodeAt(start))) start++;
  if (right) while (end > start && isRemoved(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

/** Up to this length, the search of the JavaScript engine is used: its time grows with the product of both lengths. */
const SHORT = 16;

/** Returns the first position of a text at or after `from`, or -1. */
export function positionOf(text: string, searched: string, from = 0): number {
  countRead(text.length - from);
  if (searched.length <= SHORT) return text.indexOf(searched, from);
  for (const at of positions(text, searched, from)) return at;
  return -1;
}

/** Returns the last position of a text that ends at or before `end`, or -1. */
export function lastPositionOf(text: string, searched: string, end = text.length): number {
  countRead(end);
  if (searched.length > end) return -1;
  if (searched.length <= SHORT) return text.lastIndexOf(searched, end - searched.length);
  let last = -1;
  for (const at of positions(text, searched, 0)) {
    if (at + searched.length > end) break;
    last = at;
  }
  return last;
}

/** Yields all positions, overlapping ones too, with the algorithm of Knuth, Morris and Pratt. */
export function* positions(text: string, searched: string, from: number): Generator<number> {
  countRead(searched.length);
  const size = searched.length;
  if (size > text.length - from) return;
  const borders = new Int32Array(size);
  for (let at = 1, matched = 0; at < size; at++) {
    const unit = searched.charCodeAt(at);
    while (matched > 0 && unit !== searched.charCodeAt(matched)) matched = borders[matched - 1] ?? 0;
    if (unit === searched.charCodeAt(matched)) matched++;
    borders[at] = matched;
  }
  for (let at = from, matched = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    while (matched > 0 && unit !== searched.charCodeAt(matched)) matched = borders[matched - 1] ?? 0;
    if (unit === searched.charCodeAt(matched)) matched++;
    if (matched < size) continue;
    yield at + 1 - size;
    matched = borders[matched - 1] ?? 0;
  }
}

/** Splits a text at a separator that is not empty, at most `most` times. */
export function splitAt(text: string, separator: string, most = Infinity): string[] {
  const parts: string[] = [];
  countRead(text.length);
  let from = 0;
  const take = (at: number): void => {
    countSteps(1);
    parts.push(text.slice(from, at));
    from = at + separator.length;
  };
  if (separator.length <= SHORT) {
    for (let at = text.indexOf(separator); at >= 0 && parts.length < most; at = text.indexOf(separator, from)) take(at);
  } else {
    for (const at of positions(text, separator, 0)) {
      if (parts.length >= most) break;
      if (at >= from) take(at);
    }
  }
  parts.push(text.slice(from));
  return parts;
}

const PIECE = 65_536;

/** Replaces each UTF-16 unit by itself, in pieces: a replacement of the whole text at once keeps all its matches. */
export function inPieces(text: string, change: (piece: string) => string): string {
  countRead(text.length);
  if (text.length <= PIECE) {
    const changed = change(text);
    countText(changed.length);
    return changed;
  }
  const pieces: string[] = [];
  for (let at = 0; at < text.length; at += PIECE) pieces.push(change(text.slice(at, at + PIECE)));
  return joinedTexts(pieces);
}
