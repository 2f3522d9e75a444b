import type { EncodedText } from '@whetstone/core/contract';
import { createAddedTokenSplitter } from './added-tokens.js';
import { originalEnd, originalStart, unchanged, type AlignedText } from './aligned-text.js';
import type { LibraryModel } from './library.js';
import type { SplitWord } from './byte-pair-encoding.js';
import { createNormalizer, type AlignedNormalizer } from './normalize.js';
import { createPreTokenizer, type PreTokenizer } from './pre-tokenize.js';
import type { AddedTokenConfig, TokenizerFiles } from './tokenizer-files.js';
import { createWordEncoder, type WordEncoder } from './word-encoder.js';

/**
 * Creates a function that encodes a text without special tokens around it. Added tokens are split off first: those that
 * match the raw text, then those that match the normalized text. What is left is split into words and encoded.
 */
export function createTextEncoder(
  { tokenizer }: TokenizerFiles,
  model: LibraryModel,
  options: { readonly splitWord: SplitWord; readonly idOf: (token: string) => number },
): (text: string) => EncodedText {
  const normalize = createNormalizer(tokenizer.normalizer);
  const preTokenizer = createPreTokenizer(tokenizer.pre_tokenizer);
  const encodeWord = createWordEncoder(model, { byteLevel: preTokenizer.byteLevel, ...options });
  const { splitRaw, splitNormalized } = createSplitters(tokenizer.added_tokens, normalize);
  const out = new TokenList();

  const addNormalized = (section: AlignedText, first: boolean): void => {
    if (splitNormalized === null) {
      if (section.text !== '') out.addWords(preTokenizer, encodeWord, section, first);
      return;
    }
    for (const { start, end, token } of splitNormalized(section.text)) {
      if (token !== null) out.add(token.id, originalStart(section, start), originalEnd(section, end - 1));
      else out.addWords(preTokenizer, encodeWord, sliceOf(section, start, end), first && start === 0);
    }
  };
  return (text) => {
    out.clear();
    for (const { start, end, token } of splitRaw(text)) {
      if (token !== null) {
        out.add(token.id, start, end);
        continue;
      }
      const raw = unchanged(start === 0 && end === text.length ? text : text.slice(start, end), start);
      addNormalized(normalize === null ? raw : normalize(raw), start === 0);
    }
    return out.encoded();
  };
}

type Splitter = ReturnType<typeof createAddedTokenSplitter>;

/** Creates the functions that find added tokens. `splitNormalized` is null if no token matches normalized text. */
function createSplitters(
  addedTokens: readonly AddedTokenConfig[],
  normalize: AlignedNormalizer | null,
): { readonly splitRaw: Splitter; readonly splitNormalized: Splitter | null } {
  const isNormalized = (token: AddedTokenConfig): boolean =>
    (token.normalized ?? token.special !== true) && normalize !== null;
  const raw = addedTokens.filter((token) => !isNormalized(token)).map((token) => ({ text: token.content, token }));
  const normalized = addedTokens
    .filter(isNormalized)
    .map((token) => ({ text: normalize?.(unchanged(token.content, 0)).text ?? token.content, token }));
  return {
    splitRaw: createAddedTokenSplitter(raw),
    splitNormalized: normalized.length === 0 ? null : createAddedTokenSplitter(normalized),
  };
}

/** The tokens of a text with their positions in it, as they are collected. Reused for each text. */
class TokenList {
  private readonly ids: number[] = [];
  private readonly starts: number[] = [];
  private readonly ends: number[] = [];

  clear(): void {
    this.ids.length = this.starts.length = this.ends.length = 0;
  }

  add(id: number, start: number, end: number): void {
    this.ids.push(id);
    this.starts.push(start);
    this.ends.push(end);
  }

  /** Splits a section into words and adds their tokens. `first`: the section starts the text. */
  addWords(preTokenizer: PreTokenizer, encodeWord: WordEncoder, section: AlignedText, first: boolean): void {
    const { ids, starts, ends } = this;
    for (const preToken of preTokenizer.split(section, first)) {
      const word = encodeWord(preToken.text);
      for (let i = 0; i < word.ids.length; i++) {
        const from = word.starts[i] ?? 0;
        const to = word.ends[i] ?? from;
        ids.push(word.ids[i] ?? 0);
        starts.push(preToken.starts === undefined ? preToken.base + from : originalStart(preToken, from));
        ends.push(preToken.ends === undefined ? preToken.base + to : originalEnd(preToken, Math.max(from, to - 1)));
      }
    }
  }

  encoded(): EncodedText {
    return { ids: this.ids.slice(), starts: this.starts.slice(), ends: this.ends.slice() };
  }
}

function sliceOf(section: AlignedText, start: number, end: number): AlignedText {
  const text = section.text.slice(start, end);
  if (section.starts === undefined || section.ends === undefined) return { text, base: section.base + start };
  return { text, base: section.base, starts: section.starts.slice(start, end), ends: section.ends.slice(start, end) };
}
