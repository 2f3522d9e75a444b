import { WhetstoneError, type Json } from '@whetstone/core/contract';
import type { AddedTokenConfig, TokenizerFiles } from './tokenizer-files.js';
import { isRecord } from '@whetstone/core/util';

/** A tokenizer with further tokens, and the files that a folder needs to have the same. */
export interface GrownTokenizer {
  readonly files: TokenizerFiles;
  /** Ids of the tokens that were not there before, one after the other. */
  readonly added: readonly number[];
  /** By file name; empty where nothing was added. */
  readonly written: Readonly<Record<string, string>>;
}

type Vocabulary = Readonly<Record<string, number>> | readonly unknown[];

function idsOf({ tokenizer }: TokenizerFiles): ReadonlyMap<string, number> {
  const vocabulary = tokenizer.model['vocab'] as Vocabulary;
  const own: readonly (readonly [string, number])[] = Array.isArray(vocabulary)
    ? vocabulary.map((entry, id) => [String((entry as readonly unknown[])[0]), id] as const)
    : Object.entries(vocabulary as Readonly<Record<string, number>>);
  return new Map([...own, ...tokenizer.added_tokens.map(({ content, id }) => [content, id] as const)]);
}

/**
 * Adds tokens that are read as wholes (`<|customer|>`): special ones, with ids behind all others. Tokens that the
 * vocabulary has already stay as they are.
 *
 * @throws WhetstoneError `TOKENIZER_INVALID` for a token that is empty
 */
export function addTokens(files: TokenizerFiles, tokens: readonly string[]): GrownTokenizer {
  if (tokens.some((token) => token.trim() === ''))
    throw new WhetstoneError('TOKENIZER_INVALID', 'A token to be added is empty.', {
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

/** Where a configuration lists its added tokens, the new ones join them. */
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
 * The tokens that `grown` has more than `base`, in the order of their ids. @throws WhetstoneError `TOKENIZER_INVALID`
 * where the two tell other tokens apart
 */
export function tokensAddedTo(base: TokenizerFiles, grown: TokenizerFiles): readonly string[] {
  const before = idsOf(base);
  const more = [...idsOf(grown)].filter(([token]) => !before.has(token)).sort(([, a], [, b]) => a - b);
  const again = addTokens(
    base,
    more.map(([token]) => token),
  );
  if (more.some(([, id], index) => again.added[index] !== id)) {
    throw new WhetstoneError(
      'TOKENIZER_INVALID',
      'The two tokenizers differ in more than tokens that were added at the end.',
      { place: { file: grown.folder }, expected: `the tokenizer of ${base.folder}, and further tokens` },
    );
  }
  return more.map(([token]) => token);
}
