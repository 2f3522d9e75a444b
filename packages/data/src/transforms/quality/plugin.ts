import { definePlugin } from '@whetstone/core/contract';
import { commonBoilerplate, defaultQualityOptions } from './checks.js';

const defaults = defaultQualityOptions;
const share = (value: number, description: string) =>
  ({ type: 'number', minimum: 0, maximum: 1, default: value, description }) as const;
const count = (value: number, description: string) =>
  ({ type: 'integer', minimum: 0, default: value, description }) as const;
const flag = (description: string) => ({ type: 'boolean', default: true, description }) as const;

export const qualityFilterPlugin = definePlugin({
  apiVersion: 1,
  kind: 'data-transform',
  name: 'quality-filter',
  description:
    'Takes out conversations that are too short or long, repeat themselves, are broken off, or are not what ' +
    'they should be.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      minCharacters: count(defaults.minCharacters, 'Characters that a conversation has at least.'),
      maxCharacters: count(defaults.maxCharacters, 'Characters that a conversation has at most.'),
      minTurns: count(defaults.minTurns, 'Turns that a conversation has at least.'),
      maxTurns: count(defaults.maxTurns, 'Turns that a conversation has at most.'),
      maxRepetition: share(defaults.maxRepetition, 'The largest share of a reply that may repeat itself.'),
      maxSymbolShare: share(defaults.maxSymbolShare, 'The largest share of symbols.'),
      scripts: {
        type: 'array',
        items: { type: 'string', pattern: '^[A-Za-z_]+$' },
        default: [],
        description: 'Scripts that are wanted, as Latin or Han; empty for any.',
      },
      minScriptShare: share(defaults.minScriptShare, 'The least share of letters in these scripts.'),
      boilerplate: {
        type: 'array',
        items: { type: 'string', minLength: 1 },
        default: commonBoilerplate,
        description: 'Phrases that no reply may hold.',
      },
      roleOrder: flag('User and assistant must speak by turns, the assistant last.'),
      emptyTurns: flag('No turn may be empty.'),
      truncatedReplies: flag('No reply may be broken off.'),
    },
  } as const,
  create: async (options) => {
    const { createQualityTransform } = await import('./transform.js');
    return createQualityTransform(options);
  },
});
