import * as tokenizers from '@huggingface/tokenizers';

/**
 * The parts of `@huggingface/tokenizers` that are used here. Its own declarations name files without their endings,
 * which TypeScript does not follow for ES modules under Node, so that they would all be `any`.
 */
interface Library {
  readonly Tokenizer: new (tokenizer: object, config: object) => LibraryTokenizer;
  readonly SequenceNormalizer: new (config: object) => { normalize(text: string): string };
  readonly SequenceDecoder: new (config: object) => { decode_chain(tokens: string[]): string[] };
  readonly SplitPreTokenizer: new (config: object) => { readonly pattern: RegExp | null };
}

interface LibraryTokenizer {
  readonly model: LibraryModel;
  readonly post_processor:
    | ((
        first: readonly string[],
        second: readonly string[] | null,
        addSpecialTokens: boolean,
      ) => { readonly tokens: readonly string[]; readonly tokens_pair?: readonly string[] | null })
    | null;
}

/** A tokenization model: pieces of text to the texts of tokens. */
export interface LibraryModel {
  (pieces: readonly string[]): string[];
  readonly config: { readonly continuing_subword_prefix?: string | null };
  readonly vocab: readonly (string | undefined)[];
  readonly tokens_to_ids: ReadonlyMap<string, number>;
  readonly unk_token_id?: number;
  readonly end_of_word_suffix?: string | null;
  readonly fuse_unk: boolean;
}

export const library = tokenizers as unknown as Library;
