import type { SplitWord } from './byte-pair-encoding.js';
import type { LibraryModel } from './library.js';

/** The tokens of one word; token i covers the UTF-16 units from `starts[i]` to `ends[i]` (exclusive) of the word. */
interface EncodedWord {
  readonly ids: readonly number[];
  readonly starts: readonly number[];
  readonly ends: readonly number[];
}

export type WordEncoder = (word: string) => EncodedWord;

const CACHE_ENTRIES = 60_000;
const MAX_CACHED_LENGTH = 48;
const BYTE_TOKEN = /^<0x([0-9A-F]{2})>$/;
const utf8 = new TextEncoder();

/**
 * The printable characters that represent the 256 bytes in GPT-2's vocabulary. Printable Latin-1 characters represent
 * themselves; the other bytes are mapped to U+0100 and following.
 */
export const byteCharacters: readonly string[] = (() => {
  let spare = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCharCode(printable ? byte : spare++);
  });
})();

/** Creates a function that encodes words (pre-tokens). It caches up to 60 000 short words. */
export function createWordEncoder(
  model: LibraryModel,
  options: {
    readonly byteLevel: boolean;
    readonly idOf: (token: string) => number;
    /** Splits a word into tokens, as the model does. */
    readonly splitWord: SplitWord;
  },
): WordEncoder {
  const cache = new Map<string, EncodedWord>();
  const encode = (word: string): EncodedWord => {
    const written = options.byteLevel ? Array.from(utf8.encode(word), (byte) => byteCharacters[byte]).join('') : word;
    const tokens = options.splitWord(written);
    const ranges = options.byteLevel ? byteRanges(word, tokens) : tokenRanges(word, tokens, model);
    return { ids: tokens.map(options.idOf), ...ranges };
  };
  return (word) => {
    if (word.length > MAX_CACHED_LENGTH) return encode(word);
    let encoded = cache.get(word);
    if (encoded === undefined) {
      encoded = encode(word);
      if (cache.size >= CACHE_ENTRIES) cache.clear();
      cache.set(word, encoded);
    }
    return encoded;
  };
}

interface Ranges {
  readonly starts: number[];
  readonly ends: number[];
}

/** Returns the ranges of byte-level tokens. A token covers every character of which it contains a byte. */
function byteRanges(word: string, tokens: readonly string[]): Ranges {
  const first: number[] = [];
  const last: number[] = [];
  let unit = 0;
  for (const character of word) {
    for (let count = utf8Length(character); count > 0; count--) {
      first.push(unit);
      last.push(unit + character.length);
    }
    unit += character.length;
  }
  const ranges: Ranges = { starts: [], ends: [] };
  let at = 0;
  for (const token of tokens) {
    ranges.starts.push(first[at] ?? word.length);
    at += token.length;
    ranges.ends.push(last[at - 1] ?? word.length);
  }
  return ranges;
}

function utf8Length(character: string): number {
  const point = character.codePointAt(0) ?? 0;
  return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
}

/**
 * Returns the ranges of tokens by matching them with the word: as text, as bytes of a character, or as unknown tokens.
 */
function tokenRanges(word: string, tokens: readonly string[], model: LibraryModel): Ranges {
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
    const width = (word.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
    let end: number;
    if (bytesLeft === 0 && word.startsWith(text, at)) {
      end = at + text.length;
    } else if (BYTE_TOKEN.test(token)) {
      if (bytesLeft === 0) bytesLeft = utf8Length(word.slice(at, at + width));
      bytesLeft--;
      ranges.starts.push(at);
      ranges.ends.push(at + width);
      if (bytesLeft === 0) at += width;
      return;
    } else {
      end = endOfUnknown(
        word,
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
 * Returns the end of an unknown token. It covers one character or, if unknown tokens are fused, all characters up to
 * the next known token.
 */
function endOfUnknown(
  word: string,
  start: number,
  following: readonly string[],
  width: number,
  fused: boolean,
): number {
  const next = following[0];
  if (next === undefined) return word.length;
  if (!fused) return start + width;
  const found = word.indexOf(next, start + width);
  return found < 0 ? start + width : found;
}
