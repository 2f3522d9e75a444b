import { WhetstoneError, type Json } from '@whetstone/core/contract';
import type { AddedTokenConfig, TokenizerFiles } from './tokenizer-files.js';
import { isRecord } from '@whetstone/core/util';

/** A tokenizer with added tokens, and the files to write for it. */
export interface GrownTokenizer {
  readonly files: TokenizerFiles;
  /** Consecutive ids of the added tokens. */
  readonly added: readonly number[];
  /** Contents of the changed files by name; empty if no token was added. */
  readonly written: Readonly<Record<string, string>>;
}

type Vocabulary = Readonly<Record<string, number>> | readonly unknown[];

/** Returns the ids of all tokens, including added ones, by text. */
function idsOf({ tokenizer }: TokenizerFiles): ReadonlyMap<string, number> {
  const vocabulary = tokenizer.model['vocab'] as Vocabulary;
  const own: readonly (readonly [string, number])[] = Array.isArray(vocabulary)
    ? vocabulary.map((entry, id) => [String((entry as readonly unknown[])[0]), id] as const)
    : Object.entries(vocabulary as Readonly<Record<string, number>>);
  return new Map([...own, ...tokenizer.added_tokens.map(({ content, id }) => [content, id] as const)]);
}

/**
 * Adds special tokens such as `<|customer|>`, which are never split. Their ids follow all others. Tokens that are
 * already in the vocabulary do not change.
 *
 * @throws `TOKENIZER_INVALID` if a token is empty
 */
export function addTokens(files: TokenizerFiles, tokens: readonly string[]): GrownTokenizer {
  if (tokens.some((token) => token.trim() === ''))
    throw new WhetstoneError('TOKENIZER_INVALID', 'A token to add is empty.', {
      place: { path: 'model.addTokens' },
    });
  const ids = idsOf(files);
  const fresh = [...new Set(tokens)].filter((token) => !ids.has(token));
  if (fresh.length === 0) return { files, added: [], written: {} };
  const first = [...ids.values()].reduce((largest, id) => Math.max(largest, id), -1) + 1;
  const entries = fresh.map((content, index): AddedTokenConfig => ({
    id: first + index,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const tokenizer = { ...files.tokenizer, added_tokens: [...files.tokenizer.added_tokens, ...entries] };
  const config = grownConfig(files.config, entries);
  return {
    files: { ...files, tokenizer, config },
    added: entries.map(({ id }) => id),
    written: {
      'tokenizer.json': `${JSON.stringify(tokenizer, null, 2)}\n`,
      'tokenizer_config.json': `${JSON.stringify(config, null, 2)}\n`,
    },
  };
}

/** Adds the new tokens to the lists of added tokens that tokenizer_config.json contains. */
function grownConfig(
  config: Readonly<Record<string, Json>>,
  entries: readonly AddedTokenConfig[],
): Readonly<Record<string, Json>> {
  const { added_tokens_decoder: decoder } = config;
  const isObject = isRecord(decoder);
  const joined = Object.fromEntries(
    ['additional_special_tokens', 'extra_special_tokens'].flatMap((key) => {
      const list = config[key];
      return Array.isArray(list)
        ? [[key, [...(list as readonly Json[]), ...entries.map(({ content }) => content)]]]
        : [];
    }),
  ) as Readonly<Record<string, Json>>;
  return {
    ...config,
    ...joined,
    ...(isObject
      ? {
          added_tokens_decoder: {
            ...(decoder as Readonly<Record<string, Json>>),
            ...Object.fromEntries(entries.map(({ id, ...token }) => [String(id), token as unknown as Json])),
          },
        }
      : {}),
  };
}

/**
 * Returns the tokens of `grown` that `base` lacks, in the order of their ids.
 *
 * @throws `TOKENIZER_INVALID` if the tokenizers differ in more than tokens added at the end
 */
export function tokensAddedTo(base: TokenizerFiles, grown: TokenizerFiles): readonly string[] {
  const before = idsOf(base);
  const added = [...idsOf(grown)].filter(([token]) => !before.has(token)).sort(([, a], [, b]) => a - b);
  const again = addTokens(
    base,
    added.map(([token]) => token),
  );
  if (added.some(([, id], index) => again.added[index] !== id)) {
    throw new WhetstoneError('TOKENIZER_INVALID', 'The two tokenizers differ in more than tokens added at the end.', {
      place: { file: grown.folder },
      expected: `the tokenizer of ${base.folder} with additional tokens`,
    });
  }
  return added.map(([token]) => token);
}
