import type { Conversation } from '@whetstone/core/contract';
import { textOf } from '../../examples/message-text.js';
import { createConversationSource } from '../../sources/conversations.js';
import { checkUnreadable } from '../../sources/unreadable.js';
import { comparableText, hashText } from '../duplicates/fingerprint.js';
import { placeOf } from '../duplicates/finder.js';
import { createTransform, recipeOf, type ReportingTransform } from '../transform-log.js';

export interface DecontaminateOptions {
  /** Benchmark files, in any layout that can be read. */
  readonly benchmarks: readonly string[];
  /** Words in a row that make an overlap; a Chinese, Japanese or Korean character counts as a word. */
  readonly words: number;
}

const cjk = '\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Hangul}';
const word = new RegExp(`[${cjk}]|[^\\s${cjk}]+`, 'gu');

/** Words of a text; every Han, Kana or Hangul character is one. */
const wordsOf = (text: string): string[] => comparableText(text).match(word) ?? [];

/** Hashes of every run of `size` words; a shorter text is one run, if it has at least half as many words. */
function runsOf(text: string, size: number): number[] {
  const words = wordsOf(text);
  if (words.length < size) return words.length * 2 >= size ? [hashText(words.join(' '))] : [];
  return Array.from({ length: words.length - size + 1 }, (_, start) =>
    hashText(words.slice(start, start + size).join(' ')),
  );
}

const texts = ({ messages }: Conversation): string[] => messages.map((message) => textOf(message));

/**
 * A transform that takes out conversations with a message that shares `words` words in a row with a benchmark (as
 * GPT-3's authors did with 13 words, Brown et al. 2020, appendix C).
 */
export function createDecontaminateTransform(
  { benchmarks, words }: DecontaminateOptions,
  baseFolder: string,
): ReportingTransform {
  return createTransform(
    'decontaminate',
    async () => {
      const known = new Map<number, string>();
      const source = await createConversationSource({ path: benchmarks }, baseFolder);
      for await (const conversation of source.conversations()) {
        for (const run of texts(conversation).flatMap((text) => runsOf(text, words)))
          if (!known.has(run)) known.set(run, placeOf(conversation.origin));
      }
      // What cannot be read cannot be kept out of the training data.
      checkUnreadable(source.unreadable);
      return (conversation, log) => {
        for (const run of texts(conversation).flatMap((text) => runsOf(text, words))) {
          const place = known.get(run);
          if (place === undefined) continue;
          log.remove(conversation, 'in-benchmark', `shares ${words} words in a row with ${place}`);
          return null;
        }
        return conversation;
      };
    },
    recipeOf('decontaminate', { benchmarks, words }, baseFolder, benchmarks),
  );
}
