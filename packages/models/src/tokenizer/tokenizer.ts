import { createHash } from 'node:crypto';
import { isWhetstoneError, WhetstoneError, type EncodedText, type Tokenizer } from '@whetstone/core/contract';
import { recipeFor } from '../recipes.js';
import { createAddedTokenSplitter } from './added-tokens.js';
import { originalEnd, originalStart, unchanged, type AlignedText } from './aligned-text.js';
import { createDecoder } from './decode.js';
import { library } from './library.js';
import { createNormalizer } from './normalize.js';
import { createPreTokenizer } from './pre-tokenize.js';
import {
  readTokenizerFiles,
  type AddedTokenConfig,
  type SpecialTokens,
  type TokenizerFiles,
} from './tokenizer-files.js';
import { createWordEncoder } from './word-encoder.js';
import { join } from 'node:path';

/** A tokenizer that was read from a model folder. */
export interface FolderTokenizer extends Tokenizer {
  /** Texts of `bos_token`, `eos_token`, `pad_token` and so on, for chat templates. */
  readonly specialTokens: SpecialTokens;
  /** Returns the texts of tokens as the vocabulary writes them. */
  tokens(ids: readonly number[]): (string | undefined)[];
  /** Adds the special tokens that the post-processor puts around a text. */
  withSpecialTokens(ids: readonly number[]): number[];
  /** Encodes a pair of texts as the post-processor joins them, with special tokens. */
  encodePair(first: string, second: string): number[];
  /** Returns whether the id is that of an added token, special or not. Such a token is never split. */
  isAddedToken(id: number): boolean;
  /** Ids that `decode` omits with `skipSpecialTokens`. */
  readonly specialTokenIds: ReadonlySet<number>;
}

/**
 * Loads the tokenizer of a model folder.
 *
 * @throws TOKENIZER_INVALID if a file is missing or invalid.
 */
export async function loadTokenizer(folder: string): Promise<FolderTokenizer> {
  const recipe = recipeFor('remakeTokenizer', { folder });
  return Object.assign(createTokenizer(await readTokenizerFiles(folder)), recipe === undefined ? {} : { recipe });
}

/**
 * Creates a tokenizer from the contents of its files. It uses `@huggingface/tokenizers` and adds exact character
 * offsets, normalisation and decoding, in which the library differs from the reference.
 *
 * @throws TOKENIZER_INVALID if the library does not support the tokenizer.
 */
export function createTokenizer(files: TokenizerFiles): FolderTokenizer {
  try {
    return build(files);
  } catch (cause) {
    if (isWhetstoneError(cause)) throw cause;
    throw new WhetstoneError('TOKENIZER_INVALID', `The tokenizer cannot be used: ${(cause as Error).message}`, {
      place: { file: join(files.folder, 'tokenizer.json') },
      cause,
    });
  }
}

function build({ tokenizer, config, specialTokens }: TokenizerFiles): FolderTokenizer {
  const { model, post_processor: postProcessor } = new library.Tokenizer({ ...tokenizer, normalizer: null }, config);
  const addedByText = new Map(tokenizer.added_tokens.map((token) => [token.content, token]));
  const unknown = model.unk_token_id;
  const idOf = (token: string): number => {
    const id = addedByText.get(token)?.id ?? model.tokens_to_ids.get(token) ?? unknown;
    if (id === undefined)
      throw new WhetstoneError(
        'TOKENIZER_INVALID',
        `The token ${JSON.stringify(token)} is not in the vocabulary, and the tokenizer has no unknown token.`,
      );
    return id;
  };

  const normalize = createNormalizer(tokenizer.normalizer);
  const preTokenizer = createPreTokenizer(tokenizer.pre_tokenizer);
  const encodeWord = createWordEncoder(model, { byteLevel: preTokenizer.byteLevel, idOf });
  const isNormalized = (token: AddedTokenConfig): boolean =>
    (token.normalized ?? token.special !== true) && normalize !== null;
  const splitRaw = createAddedTokenSplitter(
    tokenizer.added_tokens.filter((token) => !isNormalized(token)).map((token) => ({ text: token.content, token })),
  );
  const normalizedTokens = tokenizer.added_tokens
    .filter(isNormalized)
    .map((token) => ({ text: normalize?.(unchanged(token.content, 0)).text ?? token.content, token }));
  const splitNormalized = createAddedTokenSplitter(normalizedTokens);

  const ids: number[] = [];
  const starts: number[] = [];
  const ends: number[] = [];
  const pushWords = (section: AlignedText, first: boolean): void => {
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
  };
  const pushToken = (token: AddedTokenConfig, start: number, end: number): void => {
    ids.push(token.id);
    starts.push(start);
    ends.push(end);
  };
  const run = (text: string): EncodedText => {
    ids.length = starts.length = ends.length = 0;
    for (const { start, end, token } of splitRaw(text)) {
      if (token !== null) {
        pushToken(token, start, end);
        continue;
      }
      const raw = unchanged(start === 0 && end === text.length ? text : text.slice(start, end), start);
      const section = normalize === null ? raw : normalize(raw);
      if (normalizedTokens.length === 0) {
        if (section.text !== '') pushWords(section, start === 0);
        continue;
      }
      for (const inner of splitNormalized(section.text)) {
        if (inner.token !== null)
          pushToken(inner.token, originalStart(section, inner.start), originalEnd(section, inner.end - 1));
        else pushWords(sliceOf(section, inner.start, inner.end), start === 0 && inner.start === 0);
      }
    }
    return { ids: ids.slice(), starts: starts.slice(), ends: ends.slice() };
  };

  const tokens = (list: readonly number[]): (string | undefined)[] => list.map((id) => model.vocab[id]);
  const postProcess = (first: readonly number[], second: readonly number[] | null): number[] => {
    const written = (list: readonly number[]): string[] => tokens(list).map((token) => token ?? '');
    if (postProcessor === null) return [...first, ...(second ?? [])];
    const joined = postProcessor(written(first), second === null ? null : written(second), true);
    return [...joined.tokens, ...(joined.tokens_pair ?? [])].map(idOf);
  };
  const addedIds = new Set(tokenizer.added_tokens.map(({ id }) => id));
  const specialTexts = new Set(Object.values(specialTokens));
  const specialTokenIds = new Set(
    tokenizer.added_tokens
      .filter(({ special, content }) => special === true || specialTexts.has(content))
      .map(({ id }) => id),
  );
  const decodeTokens = createDecoder(tokenizer.decoder);
  const tokenId = (token: string): number | undefined => addedByText.get(token)?.id ?? model.tokens_to_ids.get(token);
  const special = (name: string): number | null =>
    specialTokens[name] === undefined ? null : (tokenId(specialTokens[name]) ?? null);

  let hash: string | undefined;
  return {
    get hash() {
      return (hash ??= createHash('sha256')
        .update(JSON.stringify([tokenizer, config]))
        .digest('hex'));
    },
    vocabularySize: model.vocab.length,
    bosTokenId: special('bos_token'),
    eosTokenId: special('eos_token'),
    padTokenId: special('pad_token'),
    specialTokens,
    specialTokenIds,
    isAddedToken: (id) => addedIds.has(id),
    tokens,
    tokenId,
    withSpecialTokens: (list) => postProcess(list, null),
    encode: (text, options) =>
      options?.addSpecialTokens === true ? postProcess(run(text).ids, null) : [...run(text).ids],
    encodePair: (first, second) => postProcess(run(first).ids, run(second).ids),
    encodeWithSpans: run,
    decode: (list, options) =>
      decodeTokens(
        tokens(options?.skipSpecialTokens === true ? list.filter((id) => !specialTokenIds.has(id)) : list).filter(
          (token) => token !== undefined,
        ),
      ),
  };
}

function sliceOf(section: AlignedText, start: number, end: number): AlignedText {
  const text = section.text.slice(start, end);
  if (section.starts === undefined || section.ends === undefined) return { text, base: section.base + start };
  return { text, base: section.base, starts: section.starts.slice(start, end), ends: section.ends.slice(start, end) };
}
