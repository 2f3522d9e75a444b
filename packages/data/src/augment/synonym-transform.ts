import path from 'node:path';
import { defaultsOf, type Conversation, type Logger, type Message, type PluginContext } from '@whetstone/core/contract';
import { textOf } from '../examples/message-text.js';
import { languageOf } from '../report/language.js';
import { termsOf } from '../report/terms.js';
import { mapText } from '../transforms/map-text.js';
import type { TransformLog } from '../transforms/transform-log.js';
import { createAugmentTransform, type Augment, type AugmentTransform } from './augment-transform.js';
import { readDictionary } from './dictionaries.js';
import { dictionaryLexicon, type Lexicon, type SynonymDictionary } from './lexicon.js';
import { synonymSchema, type SynonymOptions } from './options.js';
import { createReplacer } from './synonyms.js';
import { createVeto, type Veto } from './veto.js';
import { openWordNet } from './word-net.js';

const ideographs = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u;

/** Longest value of a column that names a topic, in characters. */
const LONGEST_TOPIC = 100;

/**
 * Returns the words that make up the topic of a conversation, in lower case: those of its columns (topic, category),
 * and those that several messages have in common, as a question and its answer.
 */
function topicTerms({ messages, columns }: Conversation, lexicon: Lexicon): Set<string> {
  const terms = new Set<string>();
  for (const value of Object.values(columns ?? {}))
    if (typeof value === 'string' && value.length <= LONGEST_TOPIC)
      for (const term of wordsOf(value)) for (const form of lexicon.formsOf(term)) terms.add(form);
  const seen = new Set<string>();
  for (const message of messages) {
    const forms = new Set([...wordsOf(textOf(message))].flatMap((word) => lexicon.formsOf(word)));
    for (const form of forms) if (seen.has(form)) terms.add(form);
    for (const form of forms) seen.add(form);
  }
  return terms;
}

/** Returns the words of a text: also those within names like `computer_science`, and runs of two to four ideographs. */
function wordsOf(text: string): Set<string> {
  const words = new Set(text.toLowerCase().match(/[\p{L}\p{M}]+/gu) ?? []);
  if (!ideographs.test(text)) return words;
  for (const term of termsOf(text)) words.add(term);
  for (const { segment, isWordLike } of new Intl.Segmenter('zh', { granularity: 'word' }).segment(text))
    if (isWordLike === true) words.add(segment);
  return words;
}

/** Why a conversation gets no copy, before any word is looked at; null if it can have one. */
function unsuitable({ messages }: Conversation, roles: readonly string[], { language }: Lexicon): string | null {
  if (language === null) return null;
  const text = messages.flatMap((message) => (roles.includes(message.role) ? textOf(message) : [])).join('\n');
  if (ideographs.test(text)) return 'needs a dictionary';
  const found = languageOf(text);
  // Short text, and text of which the language is not clear, may be English.
  return found === language || /other|unknown|no letters/i.test(found) ? null : 'not English';
}

interface SynonymContext extends Partial<Pick<PluginContext, 'baseFolder' | 'seed' | 'openLossMeter'>> {
  readonly logger?: Pick<Logger, 'warn'>;
  /** The synonyms, in place of the option `dictionary`. */
  readonly words?: SynonymDictionary;
}

/** Changes the messages of some roles; null if no word is changed. */
function copyOf(
  conversation: Conversation,
  roles: readonly string[],
  replace: (text: string) => string,
): readonly Message[] | null {
  const changed = mapText(conversation, (text, { role }) => (roles.includes(role) ? replace(text) : text));
  return changed === conversation ? null : changed.messages;
}

/**
 * Creates a transform that adds copies of conversations with synonyms in the messages of `roles`; by default, in the
 * user's messages. Rejected copies are counted with the reason: no word can be replaced (`unchanged`), the copy repeats
 * another conversation (`repeated`), its loss under a model is too high (`loss`), the text is not English (`not
 * English`) or needs a dictionary (`needs a dictionary`).
 */
export function createSynonymTransform(
  options: Partial<SynonymOptions> = {},
  { baseFolder = '.', seed = 42, words, logger, openLossMeter }: SynonymContext = {},
): AugmentTransform {
  const { dictionary, copies, rate, roles, protect, maxLossIncrease, model } = {
    ...defaultsOf(synonymSchema),
    ...options,
  };
  const own = protect.map((word) => word.toLowerCase());
  let veto: Veto | null = null;
  const begin = async (): Promise<Augment> => {
    const lexicon =
      words !== undefined
        ? dictionaryLexicon(words)
        : dictionary === null
          ? await openWordNet()
          : dictionaryLexicon(await readDictionary(path.resolve(baseFolder, dictionary)));
    const current =
      maxLossIncrease === null ? null : createVeto({ maxLossIncrease, model, roles, baseFolder }, openLossMeter);
    veto = current;
    return async (conversation, random, log) => {
      const reason = unsuitable(conversation, roles, lexicon);
      if (reason !== null) {
        log.changed(`rejected: ${reason}`, copies);
        return [];
      }
      const protectedWords = new Set([...own, ...topicTerms(conversation, lexicon)]);
      const made: (readonly Message[])[] = [];
      for (let copy = 0; copy < copies; copy++) {
        const replacer = createReplacer(lexicon, { rate, protect: protectedWords }, random);
        const make = () => copyOf(conversation, roles, (text) => replacer.replace(text));
        let messages = make();
        // At least one word is replaced, if one can be.
        while (messages === null && replacer.takeAnother()) messages = make();
        if (messages === null) log.changed('rejected: unchanged');
        else made.push(messages);
      }
      const accepted = current === null ? made : await current.accepted(conversation, made, log);
      return accepted.map((messages) => ({ messages }));
    };
  };
  return createAugmentTransform('synonyms', seed, {
    begin,
    roles,
    logger,
    end(log) {
      veto?.close();
      veto = null;
      warnAboutDictionary(log, logger);
    },
  });
}

function warnAboutDictionary(log: TransformLog, logger: Pick<Logger, 'warn'> | undefined): void {
  const count = log.report.changed['rejected: needs a dictionary'] ?? 0;
  if (count > 0)
    logger?.warn(
      `augment-synonyms makes no copies of Chinese or Japanese text without a dictionary (${count} copies). Set ` +
        '"dictionary" to a file with words and their synonyms.',
    );
}
