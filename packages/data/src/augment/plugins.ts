import path from 'node:path';
import { definePlugin } from '@whetstone/core/contract';
import { TRANSFORMS_VERSION } from '../transforms/transform-log.js';
import { defaultParaphraseOptions, defaultSynonymOptions, defaultTurnOptions } from './options.js';

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
  create: async (options, context) => {
    const { createSynonymTransform } = await import('./transforms.js');
    return createSynonymTransform(options, context);
  },
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
  create: async (options, context) => {
    const { createTurnTransform } = await import('./transforms.js');
    return createTurnTransform(options, context);
  },
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
  create: async (options, context) => {
    const { createParaphraseTransform } = await import('./transforms.js');
    const cacheFolder = path.resolve(context.baseFolder, options.cacheFolder);
    return createParaphraseTransform({ ...options, cacheFolder }, context);
  },
});

export const augmentPlugins = [augmentSynonymsPlugin, augmentTurnsPlugin, augmentParaphrasePlugin] as const;
