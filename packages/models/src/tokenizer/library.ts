import * as tokenizers from '@huggingface/tokenizers';

/**
 * Types of the exports of `@huggingface/tokenizers` that are used here. Its own declarations import files without
 * extensions, which TypeScript does not resolve for ES modules under Node: every type would be `any`.
 */
interface Library {
  readonly Tokenizer: new (tokenizer: object, config: object) => LibraryTokenizer;
  readonly SequenceNormalizer: new (config: object) => { normalize(text: string): string };
  readonly SequenceDecoder: new (config: object) => { decode_chain(tokens: string[]): string[] };
  readonly SplitPreTokenizer: new (config: object) => { readonly pattern: RegExp | null };
}

interface LibraryTokenizer {
  readonly model: LibraryModel;
  readonly post_processor: PostProcessor | null;
}

/** Adds special tokens to the tokens of a text or of a pair of texts. */
export type PostProcessor = (
  first: readonly string[],
  second: readonly string[] | null,
  addSpecialTokens: boolean,
) => { readonly tokens: readonly string[]; readonly tokens_pair?: readonly string[] | null };

/** A tokenization model: splits words into the texts of tokens. */
export interface LibraryModel {
  (words: readonly string[]): string[];
  readonly config: { readonly continuing_subword_prefix?: string | null };
  readonly vocab: readonly (string | undefined)[];
  readonly tokens_to_ids: ReadonlyMap<string, number>;
  readonly unk_token_id?: number;
  readonly end_of_word_suffix?: string | null;
  readonly fuse_unk: boolean;
}

export const library = tokenizers as unknown as Library;
