import path from 'node:path';
import { definePlugin } from '@whetstone/core/contract';
import type { Message, PluginContext } from '@whetstone/core/contract';
import { TRANSFORMS_VERSION } from '../transforms/transform-log.js';
import { mapText } from '../transforms/map-text.js';
import { createAugmentTransform, type AugmentTransform } from './augmented.js';
import type { Ask } from './answer-cache.js';
import { createAsk, type EndpointOptions } from './chat-endpoint.js';
import { readDictionary, readWordNet } from './dictionaries.js';
import { createLocalModel } from './local-model.js';
import { paraphrase, rejectParaphrase, type ParaphraseOptions } from './paraphrase.js';
import { replaceSynonyms, type SynonymDictionary } from './synonyms.js';
import { createJoiner, dropExchange, mergeExchanges } from './turns.js';

export interface SynonymOptions {
  /** A file of the user's own; null for WordNet. */
  readonly dictionary: string | null;
  /** Further conversations made of each. */
  readonly copies: number;
  readonly rate: number;
  readonly roles: readonly string[];
  readonly protect: readonly string[];
}

const defaultSynonymOptions: SynonymOptions = {
  dictionary: null,
  copies: 1,
  rate: 0.3,
  roles: ['user'],
  protect: [],
};

/**
 * A transform that adds copies of conversations with synonyms in some messages; the replies stay as they are unless
 * `roles` says otherwise.
 */
export function createSynonymTransform(
  options: Partial<SynonymOptions> = {},
  { baseFolder = '.', seed = 42, words }: { baseFolder?: string; seed?: number; words?: SynonymDictionary } = {},
): AugmentTransform {
  const { dictionary, copies, rate, roles, protect } = { ...defaultSynonymOptions, ...options };
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

export interface TurnOptions {
  /** Drop an earlier exchange, merge two, join single exchanges of one topic. */
  readonly methods: readonly ('drop' | 'merge' | 'join')[];
  /** The chance that a conversation that can be changed is. */
  readonly rate: number;
  /** The column by which single exchanges are related. */
  readonly column: string;
  /** Exchanges of a joined conversation. */
  readonly turns: number;
}

const defaultTurnOptions: TurnOptions = {
  methods: ['drop', 'merge', 'join'],
  rate: 0.5,
  column: 'topic',
  turns: 3,
};

/** A transform that adds conversations with a turn less, with two turns in one, and of several related turns. */
export function createTurnTransform(
  options: Partial<TurnOptions> = {},
  { seed = 42 }: { seed?: number } = {},
): AugmentTransform {
  const { methods, rate, column, turns } = { ...defaultTurnOptions, ...options };
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

export interface ParaphraseTransformOptions extends ParaphraseOptions, Omit<EndpointOptions, 'endpoint'> {
  /** Null: `model` is a model of this machine. */
  readonly endpoint: string | null;
  readonly roles: readonly string[];
  /** The share of conversations that are paraphrased. */
  readonly rate: number;
}

export const defaultParaphraseOptions: Omit<ParaphraseTransformOptions, 'endpoint' | 'model' | 'cacheFolder'> = {
  method: 'paraphrase',
  pivot: 'German',
  minSimilarity: 0.2,
  protect: [],
  roles: ['user'],
  rate: 1,
  apiKeyVariable: null,
  temperature: 0.7,
  attempts: 5,
  timeoutSeconds: 60,
  pauseSeconds: 0.5,
};

/**
 * A transform that adds conversations whose messages a model says otherwise. What changes the meaning (as far as
 * numbers, names, language, length and words in common show) is not taken, and counted by reason.
 */
export function createParaphraseTransform(
  options: Pick<ParaphraseTransformOptions, 'endpoint' | 'model' | 'cacheFolder'> & Partial<ParaphraseTransformOptions>,
  {
    seed = 42,
    baseFolder = '.',
    openGenerator,
    ask,
  }: Partial<Pick<PluginContext, 'seed' | 'baseFolder' | 'openGenerator'>> & { readonly ask?: Ask } = {},
): AugmentTransform {
  const all = { ...defaultParaphraseOptions, ...options };
  const { endpoint } = all;
  const local =
    endpoint === null
      ? createLocalModel(all, { seed, baseFolder, ...(openGenerator === undefined ? {} : { openGenerator }) })
      : null;
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

const strings = (value: readonly string[], description: string) =>
  ({ type: 'array', items: { type: 'string', minLength: 1 }, default: value, description }) as const;
const share = (value: number, description: string) =>
  ({ type: 'number', minimum: 0, maximum: 1, default: value, description }) as const;

const augmentSynonymsPlugin = definePlugin({
  apiVersion: 1,
  kind: 'data-transform',
  name: 'augment-synonyms',
  version: String(TRANSFORMS_VERSION),
  description:
    'Adds copies of training conversations with synonyms in some messages (WordNet, or a dictionary of your own).',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      dictionary: {
        type: ['string', 'null'],
        minLength: 1,
        default: null,
        description: 'A dictionary as JSON or tab-separated text; null for WordNet (English).',
      },
      copies: {
        type: 'integer',
        minimum: 1,
        maximum: 20,
        default: 1,
        description: 'Copies made of each conversation.',
      },
      rate: share(defaultSynonymOptions.rate, 'The share of words with synonyms that are replaced.'),
      roles: strings(defaultSynonymOptions.roles, 'Whose messages are changed.'),
      protect: strings([], 'Words that always stay.'),
    },
  } as const,
  create: (options, context) => createSynonymTransform(options, context),
});

const augmentTurnsPlugin = definePlugin({
  apiVersion: 1,
  kind: 'data-transform',
  name: 'augment-turns',
  version: String(TRANSFORMS_VERSION),
  description: 'Adds training conversations with a turn less, with two turns in one, and of several related turns.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      methods: {
        type: 'array',
        items: { enum: ['drop', 'merge', 'join'] },
        default: ['drop', 'merge', 'join'],
        description: 'Drop an earlier exchange, merge two, join single ones.',
      },
      rate: share(defaultTurnOptions.rate, 'The chance that a conversation that can be changed is.'),
      column: {
        type: 'string',
        minLength: 1,
        default: defaultTurnOptions.column,
        description: 'The column by which single exchanges are related.',
      },
      turns: {
        type: 'integer',
        minimum: 2,
        maximum: 20,
        default: defaultTurnOptions.turns,
        description: 'Exchanges of a joined conversation.',
      },
    },
  } as const,
  create: (options, context) => createTurnTransform(options, context),
});

const augmentParaphrasePlugin = definePlugin({
  apiVersion: 1,
  kind: 'data-transform',
  name: 'augment-paraphrase',
  version: String(TRANSFORMS_VERSION),
  description:
    'Adds training conversations that a model says otherwise: one behind an OpenAI-compatible interface, or ' +
    'one of this machine.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    required: ['model'],
    properties: {
      endpoint: {
        type: ['string', 'null'],
        pattern: '^https?://',
        default: null,
        description:
          'The base of an OpenAI-compatible interface, as http://localhost:8080/v1; null: the model is on this ' +
          'machine.',
      },
      model: {
        type: 'string',
        minLength: 1,
        description: 'The name of the model there; or a model folder, or the name of a fetched model.',
      },
      apiKeyVariable: {
        type: ['string', 'null'],
        minLength: 1,
        default: null,
        description: 'The environment variable that holds the key.',
      },
      cacheFolder: {
        type: 'string',
        minLength: 1,
        default: '.paraphrases',
        description: 'Where answers are kept, so that nothing is asked twice.',
      },
      method: {
        enum: ['paraphrase', 'back-translation'],
        default: 'paraphrase',
        description: 'In other words, or by way of another language.',
      },
      pivot: { type: 'string', minLength: 1, default: defaultParaphraseOptions.pivot, description: 'That language.' },
      minSimilarity: share(defaultParaphraseOptions.minSimilarity, 'The least share of words that must stay.'),
      protect: strings([], 'Words that must stay.'),
      roles: strings(defaultParaphraseOptions.roles, 'Whose messages are changed.'),
      rate: share(1, 'The share of conversations that are paraphrased.'),
      temperature: {
        type: 'number',
        minimum: 0,
        default: defaultParaphraseOptions.temperature,
        description: "Of the model's sampling.",
      },
      attempts: {
        type: 'integer',
        minimum: 1,
        default: defaultParaphraseOptions.attempts,
        description: 'Attempts at a request.',
      },
      timeoutSeconds: {
        type: 'number',
        exclusiveMinimum: 0,
        default: defaultParaphraseOptions.timeoutSeconds,
        description: 'Seconds that an answer may take.',
      },
      pauseSeconds: {
        type: 'number',
        minimum: 0,
        default: defaultParaphraseOptions.pauseSeconds,
        description: 'Seconds between the first two attempts; doubled from then on.',
      },
    },
  } as const,
  create: (options, context) =>
    createParaphraseTransform(
      { ...options, cacheFolder: path.resolve(context.baseFolder, options.cacheFolder) },
      context,
    ),
});

export const augmentPlugins = [augmentSynonymsPlugin, augmentTurnsPlugin, augmentParaphrasePlugin] as const;
