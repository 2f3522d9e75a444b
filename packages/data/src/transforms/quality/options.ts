import type { FromSchema } from '@whetstone/core/contract';

const share = (value: number, description: string) =>
  ({ type: 'number', minimum: 0, maximum: 1, default: value, description }) as const;
const count = (value: number, description: string) =>
  ({ type: 'integer', minimum: 0, default: value, description }) as const;
const flag = (description: string) => ({ type: 'boolean', default: true, description }) as const;

/** Phrases in which assistants describe themselves. */
const commonBoilerplate = [
  'as an ai language model',
  'as a large language model',
  'i am an ai assistant and cannot',
  'my knowledge cutoff',
  'regenerate response',
  '作为一个人工智能语言模型',
  '作为一个ai语言模型',
  '作为ai语言模型',
  '我是一个人工智能，无法',
  '我的知识截止',
];

/** The schema of {@link QualityOptions}. */
export const qualitySchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    minCharacters: count(2, 'The least characters of a conversation.'),
    maxCharacters: count(200_000, 'The most characters of a conversation.'),
    minTurns: count(1, 'The least turns of a conversation.'),
    maxTurns: count(1000, 'The most turns of a conversation.'),
    maxRepetition: share(0.6, 'The largest share of a reply that may be repeated text.'),
    maxSymbolShare: share(0.4, 'The largest share of symbols.'),
    scripts: {
      type: 'array',
      items: { type: 'string', pattern: '^[A-Za-z_]+$' },
      default: [],
      description: 'Allowed scripts, for example Latin or Han; empty for all.',
    },
    minScriptShare: share(0.5, 'The least share of letters in these scripts.'),
    boilerplate: {
      type: 'array',
      items: { type: 'string', minLength: 1 },
      default: commonBoilerplate,
      description: 'Phrases that replies must not contain.',
    },
    sameLanguage: {
      type: 'boolean',
      default: false,
      description: 'Remove conversations whose answers are in another language than the questions, if both are known.',
    },
    roleOrder: flag('Remove conversations unless user and assistant alternate and the assistant is last.'),
    emptyTurns: flag('Remove conversations with an empty turn.'),
    truncatedReplies: flag('Remove conversations with a truncated reply.'),
  },
} as const;

/** The limits of the transform `quality-filter`. */
export interface QualityOptions extends FromSchema<typeof qualitySchema> {}
