import type { FromSchema } from '@whetstone/core/contract';

const strings = (value: readonly string[], description: string) =>
  ({ type: 'array', items: { type: 'string', minLength: 1 }, default: value, description }) as const;
const share = (value: number, description: string) =>
  ({ type: 'number', minimum: 0, maximum: 1, default: value, description }) as const;

/** The schema of {@link SynonymOptions}. */
export const synonymSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    dictionary: {
      type: ['string', 'null'],
      minLength: 1,
      default: null,
      description:
        'A dictionary file: lines of a word, a tab and its synonyms, separated by commas; or JSON, ' +
        '{"word": ["synonym"]}. Null for common words and WordNet (English).',
    },
    copies: {
      type: 'integer',
      minimum: 1,
      maximum: 20,
      default: 1,
      description: 'Copies per conversation.',
    },
    rate: share(0.3, 'The share of words with synonyms that are replaced; at least one word of a copy.'),
    roles: strings(['user'], 'The roles whose messages are changed.'),
    protect: strings([], 'Words that are never replaced.'),
    maxLossIncrease: {
      type: ['number', 'null'],
      minimum: 0,
      default: null,
      description:
        'Rejects a copy if its changed messages have a mean loss per token, under a model, that is more than this ' +
        'above that of the original, in nats; null: no model is asked.',
    },
    model: {
      type: ['string', 'null'],
      minLength: 1,
      default: null,
      description:
        'The model of maxLossIncrease: a model folder, or the name of a fetched model; null: the model that is ' +
        'trained.',
    },
  },
} as const;

/** The options of the transform `augment-synonyms`. */
export interface SynonymOptions extends FromSchema<typeof synonymSchema> {}

/** The schema of {@link TurnOptions}. */
export const turnSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    methods: {
      type: 'array',
      items: { enum: ['drop', 'merge', 'join'] },
      default: ['drop', 'join'],
      description:
        'Remove an earlier exchange, join single exchanges of the same topic and language, merge two exchanges ' +
        '(as if both questions had been asked at once). What would make no dialogue is not made.',
    },
    rate: share(0.5, 'The probability that an eligible conversation is changed.'),
    column: {
      type: 'string',
      minLength: 1,
      default: 'topic',
      description: 'The column whose value relates single exchanges.',
    },
    turns: {
      type: 'integer',
      minimum: 2,
      maximum: 20,
      default: 3,
      description: 'Exchanges per joined conversation.',
    },
  },
} as const;

/** The options of the transform `augment-turns`. */
export interface TurnOptions extends FromSchema<typeof turnSchema> {}

/** The schema of {@link ParaphraseOptions}. */
export const paraphraseSchema = {
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
      description: 'The environment variable that holds the API key; null if none is needed.',
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
      default: 'German',
      description: 'The intermediate language of a back-translation.',
    },
    minSimilarity: share(0.2, 'The least share of words that the paraphrase has in common with the original.'),
    protect: strings([], 'Words that must not change.'),
    roles: strings(['user'], 'The roles whose messages are changed.'),
    rate: share(1, 'The share of conversations that are paraphrased.'),
    temperature: {
      type: 'number',
      minimum: 0,
      default: 0.7,
      description: 'The sampling temperature of the model.',
    },
    attempts: {
      type: 'integer',
      minimum: 1,
      default: 5,
      description: 'Attempts per request.',
    },
    timeoutSeconds: {
      type: 'number',
      exclusiveMinimum: 0,
      default: 60,
      description: 'The timeout of a request, in seconds.',
    },
    pauseSeconds: {
      type: 'number',
      minimum: 0,
      default: 0.5,
      description:
        'Seconds between the first two attempts, unless the server names a time (Retry-After); doubled after each ' +
        'further attempt.',
    },
    maxWaitSeconds: {
      type: 'number',
      minimum: 0,
      default: 300,
      description: 'The longest wait that a server may ask for (Retry-After), in seconds; a longer one is an error.',
    },
    concurrency: {
      type: 'integer',
      minimum: 1,
      maximum: 256,
      default: 8,
      description: 'The most requests to the endpoint at once.',
    },
  },
} as const;

/** The options of the transform `augment-paraphrase`. */
export interface ParaphraseOptions extends FromSchema<typeof paraphraseSchema> {}
