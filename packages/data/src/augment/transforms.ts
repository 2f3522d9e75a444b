import path from 'node:path';
import { defaultsOf, type Message, type PluginContext } from '@whetstone/core/contract';
import { mapText } from '../transforms/map-text.js';
import { createAugmentTransform, type AugmentTransform } from './augment-transform.js';
import type { Ask } from './answer-cache.js';
import { createAsk } from './chat-endpoint.js';
import { readDictionary, readWordNet } from './dictionaries.js';
import { createLocalModel } from './local-model.js';
import {
  paraphraseSchema,
  synonymSchema,
  turnSchema,
  type ParaphraseOptions,
  type SynonymOptions,
  type TurnOptions,
} from './options.js';
import { paraphrase, rejectParaphrase } from './paraphrase.js';
import { replaceSynonyms, type SynonymDictionary } from './synonyms.js';
import { createJoiner, dropExchange, mergeExchanges } from './exchanges.js';

/**
 * Creates a transform that adds copies of conversations with synonyms in the messages of `roles`; by default, in the
 * user's messages.
 */
export function createSynonymTransform(
  options: Partial<SynonymOptions> = {},
  { baseFolder = '.', seed = 42, words }: { baseFolder?: string; seed?: number; words?: SynonymDictionary } = {},
): AugmentTransform {
  const { dictionary, copies, rate, roles, protect } = { ...defaultsOf(synonymSchema), ...options };
  return createAugmentTransform('synonyms', seed, async () => {
    const synonyms =
      words ?? (dictionary === null ? await readWordNet() : await readDictionary(path.resolve(baseFolder, dictionary)));
    const replaceOptions = { rate, protect: new Set(protect.map((word) => word.toLowerCase())) };
    return (conversation, random) => {
      const made = new Map<string, readonly Message[]>();
      for (let copy = 0; copy < copies; copy++) {
        const changed = mapText(conversation, (text, { role }) =>
          roles.includes(role) ? replaceSynonyms(text, synonyms, replaceOptions, random) : text,
        );
        if (changed !== conversation) made.set(JSON.stringify(changed.messages), changed.messages);
      }
      return [...made.values()];
    };
  });
}

/** Creates a transform that adds conversations with an exchange removed, two exchanges merged, or several joined. */
export function createTurnTransform(
  options: Partial<TurnOptions> = {},
  { seed = 42 }: { seed?: number } = {},
): AugmentTransform {
  const { methods, rate, column, turns } = { ...defaultsOf(turnSchema), ...options };
  return createAugmentTransform('turns', seed, () => {
    const joiner = createJoiner(column, turns);
    return (conversation, random) => {
      if (conversation.form !== 'chat') return [];
      const made: Message[][] = [];
      for (const method of methods) {
        const changed =
          method === 'join'
            ? joiner.add(conversation, random)
            : random.uniform() < rate
              ? (method === 'drop' ? dropExchange : mergeExchanges)(conversation, random)
              : null;
        if (changed) made.push(changed);
      }
      return made;
    };
  });
}

/**
 * Creates a transform that adds conversations with paraphrased messages. Paraphrases that seem to change the meaning
 * are rejected and counted by reason; see {@link rejectParaphrase}.
 */
export function createParaphraseTransform(
  options: Pick<ParaphraseOptions, 'endpoint' | 'model' | 'cacheFolder'> & Partial<ParaphraseOptions>,
  {
    seed = 42,
    baseFolder = '.',
    openGenerator,
    ask,
  }: Partial<Pick<PluginContext, 'seed' | 'baseFolder' | 'openGenerator'>> & { readonly ask?: Ask } = {},
): AugmentTransform {
  const all = { ...defaultsOf(paraphraseSchema), ...options };
  const { endpoint } = all;
  const local = endpoint === null ? createLocalModel(all, { seed, baseFolder, openGenerator }) : null;
  const asked = ask ?? local?.ask ?? createAsk({ ...all, endpoint: endpoint ?? '' });
  return createAugmentTransform(
    'paraphrase',
    seed,
    () =>
      async ({ messages }, random, log) => {
        if (random.uniform() >= all.rate) return [];
        const changed: Message[] = [];
        let taken = 0;
        for (const message of messages) {
          if (
            !all.roles.includes(message.role) ||
            typeof message.content !== 'string' ||
            message.content.trim() === ''
          ) {
            changed.push(message);
            continue;
          }
          const text = await paraphrase(message.content, asked, all);
          const rejection = rejectParaphrase(message.content, text, all);
          if (rejection) log.changed(`rejected: ${rejection}`);
          else taken++;
          changed.push(rejection ? message : { ...message, content: text });
        }
        return taken > 0 ? [changed] : [];
      },
    () => local?.close(),
  );
}
