import type { Conversation } from '@whetstone/core/contract';
import { reasoningBesideText } from '@whetstone/core/util';
import { textOf } from '../../examples/message-text.js';
import { createConversationSource } from '../../sources/conversations.js';
import { fingerprintOf } from '../duplicates/finder.js';
import { comparableText, hashText } from '../duplicates/fingerprint.js';
import { describeMatch, finderOf } from '../duplicates/leakage.js';
import { defaultDuplicateOptions } from '../duplicates/options.js';
import { formatOrigin } from '../../sources/origins.js';
import { createTransform, recipeOf, type ReportingTransform } from '../transform-log.js';
import type { DecontaminateOptions } from './options.js';

const cjk = '\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Hangul}';
const word = new RegExp(`[${cjk}]|[^\\s${cjk}]+`, 'gu');

/** Returns the words of a text; every Han, Kana or Hangul character is a word. */
const wordsOf = (text: string): string[] => comparableText(text).match(word) ?? [];

/** Returns the hashes of all runs of `size` words. A shorter text with at least half as many words is one run. */
function runsOf(text: string, size: number): number[] {
  const words = wordsOf(text);
  if (words.length < size) return words.length * 2 >= size ? [hashText(words.join(' '))] : [];
  return Array.from({ length: words.length - size + 1 }, (_, start) =>
    hashText(words.slice(start, start + size).join(' ')),
  );
}

const texts = ({ messages }: Conversation): string[] =>
  messages.flatMap((message) => [...reasoningBesideText(message), textOf(message)]);

/**
 * Creates a transform that removes conversations with a message that has `words` consecutive words in common with a
 * benchmark, or that repeat a conversation, an exchange or a long reply of it, exactly or nearly. Source of the words:
 * Brown et al., "Language Models are Few-Shot Learners", 2020, appendix C, which uses 13 words.
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
      const held = await finderOf(source, defaultDuplicateOptions);
      for await (const conversation of source.conversations()) {
        for (const run of texts(conversation).flatMap((text) => runsOf(text, words)))
          if (!known.has(run)) known.set(run, formatOrigin(conversation.origin));
      }
      return (conversation, log) => {
        for (const run of texts(conversation).flatMap((text) => runsOf(text, words))) {
          const benchmark = known.get(run);
          if (benchmark === undefined) continue;
          log.remove(conversation, 'in-benchmark', `has ${words} consecutive words in common with ${benchmark}`);
          return null;
        }
        const match = held.find(fingerprintOf(conversation, { ...defaultDuplicateOptions, units: true }));
        if (match === null) return conversation;
        log.remove(conversation, 'in-benchmark', describeMatch(match));
        return null;
      };
    },
    recipeOf('decontaminate', { benchmarks, words }, baseFolder, [benchmarks].flat()),
  );
}
