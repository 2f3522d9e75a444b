import { definePlugin } from '@whetstone/core/contract';
import { commonBoilerplate, defaultQualityOptions } from './checks.js';

const defaults = defaultQualityOptions;
const share = (value: number, description: string) =>
  ({ type: 'number', minimum: 0, maximum: 1, default: value, description }) as const;
const count = (value: number, description: string) =>
  ({ type: 'integer', minimum: 0, default: value, description }) as const;
const flag = (description: string) => ({ type: 'boolean', default: true, description }) as const;

export const qualityFilterPlugin = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'quality-filter',
  description:
    'Removes conversations that are too short or long, repetitive, truncated, in another language, or have roles ' +
    'out of order.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      minCharacters: count(defaults.minCharacters, 'The least characters of a conversation.'),
      maxCharacters: count(defaults.maxCharacters, 'The most characters of a conversation.'),
      minTurns: count(defaults.minTurns, 'The least turns of a conversation.'),
      maxTurns: count(defaults.maxTurns, 'The most turns of a conversation.'),
      maxRepetition: share(defaults.maxRepetition, 'The largest share of a reply that may be repeated text.'),
      maxSymbolShare: share(defaults.maxSymbolShare, 'The largest share of symbols.'),
      scripts: {
        type: 'array',
        items: { type: 'string', pattern: '^[A-Za-z_]+$' },
        default: [],
        description: 'Allowed scripts, for example Latin or Han; empty for all.',
      },
      minScriptShare: share(defaults.minScriptShare, 'The least share of letters in these scripts.'),
      boilerplate: {
        type: 'array',
        items: { type: 'string', minLength: 1 },
        default: commonBoilerplate,
        description: 'Phrases that replies must not contain.',
      },
      roleOrder: flag('Remove conversations unless user and assistant alternate and the assistant is last.'),
      emptyTurns: flag('Remove conversations with an empty turn.'),
      truncatedReplies: flag('Remove conversations with a truncated reply.'),
    },
  } as const,
  create: async (options) => {
    const { createQualityTransform } = await import('./transform.js');
    return createQualityTransform(options);
  },
});
