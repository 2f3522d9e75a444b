import path from 'node:path';
import { definePlugin } from '@whetstone/core/contract';
import { TRANSFORMS_VERSION } from '../transforms/transform-log.js';
import { defaultParaphraseOptions, defaultSynonymOptions, defaultTurnOptions } from './options.js';

const strings = (value: readonly string[], description: string) =>
  ({ type: 'array', items: { type: 'string', minLength: 1 }, default: value, description }) as const;
const share = (value: number, description: string) =>
  ({ type: 'number', minimum: 0, maximum: 1, default: value, description }) as const;

const augmentSynonymsPlugin = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'augment-synonyms',
  version: String(TRANSFORMS_VERSION),
  description:
    'Adds copies of training conversations in which some words are replaced by synonyms (WordNet or a dictionary).',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      dictionary: {
        type: ['string', 'null'],
        minLength: 1,
        default: null,
        description: 'A dictionary file, JSON or tab-separated text; null for WordNet (English).',
      },
      copies: {
        type: 'integer',
        minimum: 1,
        maximum: 20,
        default: 1,
        description: 'Copies per conversation.',
      },
      rate: share(defaultSynonymOptions.rate, 'The share of words with synonyms that are replaced.'),
      roles: strings(defaultSynonymOptions.roles, 'The roles whose messages are changed.'),
      protect: strings([], 'Words that are never replaced.'),
    },
  } as const,
  create: async (options, context) => {
    const { createSynonymTransform } = await import('./transforms.js');
    return createSynonymTransform(options, context);
  },
});

const augmentTurnsPlugin = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'augment-turns',
  version: String(TRANSFORMS_VERSION),
  description: 'Adds training conversations with an exchange removed, two exchanges merged, or several joined.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      methods: {
        type: 'array',
        items: { enum: ['drop', 'merge', 'join'] },
        default: ['drop', 'merge', 'join'],
        description: 'Remove an earlier exchange, merge two exchanges, join single exchanges of the same topic.',
      },
      rate: share(defaultTurnOptions.rate, 'The probability that an eligible conversation is changed.'),
      column: {
        type: 'string',
        minLength: 1,
        default: defaultTurnOptions.column,
        description: 'The column whose value relates single exchanges.',
      },
      turns: {
        type: 'integer',
        minimum: 2,
        maximum: 20,
        default: defaultTurnOptions.turns,
        description: 'Exchanges per joined conversation.',
      },
    },
  } as const,
  create: async (options, context) => {
    const { createTurnTransform } = await import('./transforms.js');
    return createTurnTransform(options, context);
  },
});

const augmentParaphrasePlugin = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'augment-paraphrase',
  version: String(TRANSFORMS_VERSION),
  description:
    'Adds paraphrases of training conversations, written by a model behind an OpenAI-compatible API or on this ' +
    'machine.',
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
          'The base URL of an OpenAI-compatible API, for example http://localhost:8080/v1; null for a model on this ' +
          'machine.',
      },
      model: {
        type: 'string',
        minLength: 1,
        description: 'The name of the model at the endpoint, a model folder, or the name of a fetched model.',
      },
      apiKeyVariable: {
        type: ['string', 'null'],
        minLength: 1,
        default: null,
        description: 'The environment variable that holds the API key.',
      },
      cacheFolder: {
        type: 'string',
        minLength: 1,
        default: '.paraphrases',
        description: 'The folder in which answers are cached, so that no request is sent twice.',
      },
      method: {
        enum: ['paraphrase', 'back-translation'],
        default: 'paraphrase',
        description: 'Paraphrase directly, or translate to another language and back.',
      },
      pivot: {
        type: 'string',
        minLength: 1,
        default: defaultParaphraseOptions.pivot,
        description: 'The intermediate language of a back-translation.',
      },
      minSimilarity: share(
        defaultParaphraseOptions.minSimilarity,
        'The least share of words that the paraphrase has in common with the original.',
      ),
      protect: strings([], 'Words that must not change.'),
      roles: strings(defaultParaphraseOptions.roles, 'The roles whose messages are changed.'),
      rate: share(1, 'The share of conversations that are paraphrased.'),
      temperature: {
        type: 'number',
        minimum: 0,
        default: defaultParaphraseOptions.temperature,
        description: 'The sampling temperature of the model.',
      },
      attempts: {
        type: 'integer',
        minimum: 1,
        default: defaultParaphraseOptions.attempts,
        description: 'Attempts per request.',
      },
      timeoutSeconds: {
        type: 'number',
        exclusiveMinimum: 0,
        default: defaultParaphraseOptions.timeoutSeconds,
        description: 'The timeout of a request, in seconds.',
      },
      pauseSeconds: {
        type: 'number',
        minimum: 0,
        default: defaultParaphraseOptions.pauseSeconds,
        description: 'Seconds between the first two attempts; doubled after each further attempt.',
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
