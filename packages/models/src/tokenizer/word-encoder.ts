import type { LibraryModel } from './library.js';

/** The tokens of one piece; token i covers UTF-16 units `starts[i]` up to `ends[i]` of the piece. */
interface EncodedWord {
  readonly ids: readonly number[];
  readonly starts: readonly number[];
  readonly ends: readonly number[];
}

export type WordEncoder = (piece: string) => EncodedWord;

const CACHE_ENTRIES = 60_000;
const LONGEST_CACHED = 48;
const BYTE_TOKEN = /^<0x([0-9A-F]{2})>$/;
const utf8 = new TextEncoder();

/**
 * Printable stand-ins for the 256 bytes, as GPT-2's vocabulary writes them: printable Latin-1 as itself, the rest from
 * U+0100 on.
 */
export const byteCharacters: readonly string[] = (() => {
  let spare = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCharCode(printable ? byte : spare++);
  });
})();

/**
 * Encodes pieces with the library's model. Words come again and again: what was encoded once is remembered, within a
 * bound.
 */
export function createWordEncoder(
  model: LibraryModel,
  options: { readonly byteLevel: boolean; readonly idOf: (token: string) => number },
): WordEncoder {
  const cache = new Map<string, EncodedWord>();
  const encode = (piece: string): EncodedWord => {
    const written = options.byteLevel ? Array.from(utf8.encode(piece), (byte) => byteCharacters[byte]).join('') : piece;
    const tokens = model([written]);
    const ranges = options.byteLevel ? byteRanges(piece, tokens) : tokenRanges(piece, tokens, model);
    return { ids: tokens.map(options.idOf), ...ranges };
  };
  return (piece) => {
    if (piece.length > LONGEST_CACHED) return encode(piece);
    let word = cache.get(piece);
    if (word === undefined) {
      word = encode(piece);
      if (cache.size >= CACHE_ENTRIES) cache.clear();
      cache.set(piece, word);
    }
    return word;
  };
}

interface Ranges {
  readonly starts: number[];
  readonly ends: number[];
}

/** Each character of a byte-level token is one byte; a token covers every character that it holds a byte of. */
function byteRanges(piece: string, tokens: readonly string[]): Ranges {
  const first: number[] = [];
  const last: number[] = [];
  let unit = 0;
  for (const character of piece) {
    for (let count = utf8Length(character); count > 0; count--) {
      first.push(unit);
      last.push(unit + character.length);
    }
    unit += character.length;
  }
  const ranges: Ranges = { starts: [], ends: [] };
  let at = 0;
  for (const token of tokens) {
    ranges.starts.push(first[at] ?? piece.length);
    at += token.length;
    ranges.ends.push(last[at - 1] ?? piece.length);
  }
  return ranges;
}

function utf8Length(character: string): number {
  const point = character.codePointAt(0) ?? 0;
  return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
}

/** Finds each token in the piece again: as its own text, as a byte of a character, or as something unknown. */
function tokenRanges(piece: string, tokens: readonly string[], model: LibraryModel): Ranges {
  const prefix = (model.config as { continuing_subword_prefix?: string | null }).continuing_subword_prefix ?? '';
  const suffix = model.end_of_word_suffix ?? '';
  const surface = (token: string, index: number): string => {
    const bare = index > 0 && prefix !== '' && token.startsWith(prefix) ? token.slice(prefix.length) : token;
    return suffix !== '' && bare.endsWith(suffix) ? bare.slice(0, -suffix.length) : bare;
  };
  const ranges: Ranges = { starts: [], ends: [] };
  let at = 0;
  let bytesLeft = 0;
  tokens.forEach((token, index) => {
    const text = surface(token, index);
    const width = (piece.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
    let end: number;
    if (bytesLeft === 0 && piece.startsWith(text, at)) {
      end = at + text.length;
    } else if (BYTE_TOKEN.test(token)) {
      if (bytesLeft === 0) bytesLeft = utf8Length(piece.slice(at, at + width));
      bytesLeft--;
      ranges.starts.push(at);
      ranges.ends.push(at + width);
      if (bytesLeft === 0) at += width;
      return;
    } else {
      end = endOfUnknown(
        piece,
        at,
        tokens.slice(index + 1).map((next, offset) => surface(next, index + 1 + offset)),
        width,
        model.fuse_unk,
      );
    }
    ranges.starts.push(at);
    ranges.ends.push(end);
    at = end;
  });
  return ranges;
}

/**
 * An unknown token stands for one character, or where unknowns are fused or are whole words, for all up to the next
 * known token.
 */
function endOfUnknown(
  piece: string,
  start: number,
  following: readonly string[],
  width: number,
  fused: boolean,
): number {
  const next = following[0];
  if (next === undefined) return piece.length;
  if (!fused) return start + width;
  const found = piece.indexOf(next, start + width);
  return found < 0 ? start + width : found;
}
