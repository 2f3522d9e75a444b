import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { isWhetstoneError, WhetstoneError, type Tokenizer } from '@whetstone/core/contract';
import { recipeFor } from '../recipes.js';
import { createBytePairSplitter, isBytePairModel, type SplitWord } from './byte-pair-encoding.js';
import { createDecoder } from './decode.js';
import { library, type LibraryModel, type PostProcessor } from './library.js';
import { createTextEncoder } from './text-encoder.js';
import { readTokenizerFiles, type SpecialTokens, type TokenizerFiles } from './tokenizer-files.js';

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
 * @throws `TOKENIZER_INVALID` if a file is missing or invalid
 */
export async function loadTokenizer(folder: string): Promise<FolderTokenizer> {
  const recipe = recipeFor('remakeTokenizer', { folder });
  return Object.assign(createTokenizer(await readTokenizerFiles(folder)), recipe === undefined ? {} : { recipe });
}

/**
 * Creates a tokenizer from the contents of its files. It uses `@huggingface/tokenizers` and adds exact character
 * offsets, normalisation and decoding, in which the library differs from the reference.
 *
 * @throws `TOKENIZER_INVALID` if the library does not support the tokenizer
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

/** Builds a tokenizer: texts to ids (`text-encoder.ts`), special tokens around them, and ids to texts (`decode.ts`). */
function build(files: TokenizerFiles): FolderTokenizer {
  const { tokenizer, config, specialTokens } = files;
  const { model, postProcessor, splitWord } = createModel(files);
  const { tokenId, idOf, tokens } = createVocabulary(files, model);
  const encode = createTextEncoder(files, model, { idOf, splitWord });
  const postProcess = createPostProcessor(postProcessor, tokens, idOf);
  const decodeTokens = createDecoder(tokenizer.decoder);
  const addedIds = new Set(tokenizer.added_tokens.map(({ id }) => id));
  const specialTokenIds = specialIdsOf(files);
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
      options?.addSpecialTokens === true ? postProcess(encode(text).ids, null) : [...encode(text).ids],
    encodePair: (first, second) => postProcess(encode(first).ids, encode(second).ids),
    encodeWithSpans: encode,
    decode: (list, options) =>
      decodeTokens(
        tokens(options?.skipSpecialTokens === true ? list.filter((id) => !specialTokenIds.has(id)) : list).filter(
          (token) => token !== undefined,
        ),
      ),
  };
}

interface Model {
  readonly model: LibraryModel;
  readonly postProcessor: PostProcessor | null;
  readonly splitWord: SplitWord;
}

/** Creates the model. The library's table of merges, most of its work, is not made where it is not used. */
function createModel({ tokenizer, config }: TokenizerFiles): Model {
  const create = (described: object): Omit<Model, 'splitWord'> => {
    const { model, post_processor: postProcessor } = new library.Tokenizer(
      { ...tokenizer, normalizer: null, model: described },
      config,
    );
    return { model, postProcessor };
  };
  if (isBytePairModel(tokenizer.model)) {
    const created = create({ ...tokenizer.model, merges: [] });
    const splitWord = createBytePairSplitter(tokenizer.model, created.model);
    if (splitWord !== null) return { ...created, splitWord };
  }
  const created = create(tokenizer.model);
  return { ...created, splitWord: (word) => created.model([word]) };
}

interface Vocabulary {
  /** Returns the id of a token, if the vocabulary contains it. */
  tokenId(token: string): number | undefined;
  /**
   * Returns the id of a token, or that of the unknown token.
   *
   * @throws `TOKENIZER_INVALID` if the vocabulary contains neither
   */
  idOf(token: string): number;
  /** Returns the texts of tokens as the vocabulary writes them. */
  tokens(ids: readonly number[]): (string | undefined)[];
}

/** Joins the vocabulary of the model and the added tokens. */
function createVocabulary({ tokenizer }: TokenizerFiles, model: LibraryModel): Vocabulary {
  const addedByText = new Map(tokenizer.added_tokens.map((token) => [token.content, token]));
  const tokenId = (token: string): number | undefined => addedByText.get(token)?.id ?? model.tokens_to_ids.get(token);
  const unknown = model.unk_token_id;
  return {
    tokenId,
    idOf(token) {
      const id = tokenId(token) ?? unknown;
      if (id === undefined)
        throw new WhetstoneError(
          'TOKENIZER_INVALID',
          `The token ${JSON.stringify(token)} is not in the vocabulary, and the tokenizer has no unknown token.`,
        );
      return id;
    },
    tokens: (ids) => ids.map((id) => model.vocab[id]),
  };
}

/** Creates a function that puts special tokens around a text or a pair of texts. */
function createPostProcessor(
  postProcessor: PostProcessor | null,
  tokens: Vocabulary['tokens'],
  idOf: Vocabulary['idOf'],
): (first: readonly number[], second: readonly number[] | null) => number[] {
  const written = (ids: readonly number[]): string[] => tokens(ids).map((token) => token ?? '');
  return (first, second) => {
    if (postProcessor === null) return [...first, ...(second ?? [])];
    const joined = postProcessor(written(first), second === null ? null : written(second), true);
    return [...joined.tokens, ...(joined.tokens_pair ?? [])].map(idOf);
  };
}

/** Returns the ids of the added tokens that are special, or that the configuration names as a special token. */
function specialIdsOf({ tokenizer, specialTokens }: TokenizerFiles): ReadonlySet<number> {
  const specialTexts = new Set(Object.values(specialTokens));
  return new Set(
    tokenizer.added_tokens
      .filter(({ special, content }) => special === true || specialTexts.has(content))
      .map(({ id }) => id),
  );
}
