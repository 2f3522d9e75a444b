import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createBytePairSplitter, isBytePairModel, type SplitWord } from './byte-pair-encoding.js';
import { library, type LibraryModel } from './library.js';

const SYMBOLS = [...'abcd', 'é', '🙂'];
const BYTE_TOKENS = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);

/** A model of the type BPE whose merges join tokens that are chosen by `choices`. */
function makeModel(choices: readonly (readonly [number, number])[], options: Record<string, unknown>): object {
  const suffix = typeof options['end_of_word_suffix'] === 'string' ? options['end_of_word_suffix'] : '';
  // Two symbols are not in the vocabulary.
  const tokens = [...SYMBOLS.slice(0, 4), ...SYMBOLS.slice(0, 3).map((symbol) => symbol + suffix)];
  const merges: (readonly [string, string])[] = [];
  for (const [first, second] of choices) {
    const [left = '', right = ''] = [tokens[first % tokens.length], tokens[second % tokens.length]];
    if (suffix !== '' && left.endsWith(suffix)) continue;
    merges.push([left, right]);
    tokens.push(left + right);
  }
  const all = [...new Set([...tokens, '<unk>', ...(options['byte_fallback'] === true ? BYTE_TOKENS : [])])];
  return { type: 'BPE', vocab: Object.fromEntries(all.map((token, id) => [token, id])), merges, ...options };
}

function libraryModel(model: object): LibraryModel {
  const parts = { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
  return new library.Tokenizer({ ...parts, model }, {}).model;
}

/** Creates the splitter of a model; null if it is left to the library. */
function splitterOf(model: object): SplitWord | null {
  return isBytePairModel(model) ? createBytePairSplitter(model, libraryModel(model)) : null;
}

const merges = fc.array(fc.tuple(fc.nat(200), fc.nat(200)), { minLength: 1, maxLength: 40 });
// Words of more than 32 symbols are merged in another way than short ones.
const words = fc.array(
  fc.array(fc.constantFrom(...SYMBOLS), { minLength: 1, maxLength: 90 }).map((symbols) => symbols.join('')),
  { minLength: 1, maxLength: 8 },
);

describe('byte-pair encoding', () => {
  it.each([
    {},
    { unk_token: '<unk>' },
    { unk_token: '<unk>', fuse_unk: true },
    { unk_token: '<unk>', byte_fallback: true },
    { byte_fallback: true, ignore_merges: true },
    { unk_token: '<unk>', end_of_word_suffix: '</w>' },
  ])('gives the tokens of the library with %o', (options) => {
    fc.assert(
      fc.property(merges, words, (choices, texts) => {
        const model = makeModel(choices, options);
        const reference = libraryModel(model);
        const split = splitterOf(model);
        for (const text of texts) expect(split?.(text)).toEqual(reference([text]));
      }),
      { numRuns: 150, seed: 5 },
    );
  });

  it('applies the leftmost of equal merges first, in short and long words', () => {
    const split = splitterOf(makeModel([[0, 0]], {}));
    for (const count of [3, 33, 71])
      expect(split?.('a'.repeat(count))).toEqual([...Array.from({ length: (count - 1) / 2 }, () => 'aa'), 'a']);
  });

  it('leaves models to the library that it does not know', () => {
    const model = makeModel([[0, 1]], {});
    expect(splitterOf({ ...model, type: 'WordPiece' })).toBeNull();
    expect(splitterOf({ ...model, continuing_subword_prefix: '##' })).toBeNull();
    expect(splitterOf({ ...model, merges: [['a', 'é']] })).toBeNull();
  });

  it('splits a word of 200,000 symbols', () => {
    const split = splitterOf(makeModel([[0, 1]], {}));
    expect(split?.('ab'.repeat(100_000))).toHaveLength(100_000);
  });
});
