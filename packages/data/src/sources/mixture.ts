import { definePlugin } from '@whetstone/core/contract';
import { LAYOUT_NAMES } from '../layouts/index.js';
import { columnProperties } from './plugin.js';
import { createFileSource, openPart, type ConversationSourceOptions, type FileSource } from './conversations.js';

/** A source of its own within a mixture. */
export interface MixedSource extends ConversationSourceOptions {
  readonly name: string;
}

/**
 * Several sources, one after the other, each with its own layout; every conversation gets a column `source` with the
 * name of its own. How often each is learned from is the balance's affair: `"balance": {"by": "source", "weights":
 * {"general": 0.07}}`.
 */
export async function createMixtureSource(sources: readonly MixedSource[], baseFolder: string): Promise<FileSource> {
  return createFileSource(
    await Promise.all(sources.map(({ name, ...options }) => openPart(options, baseFolder, name))),
  );
}

export const mixturePlugin = definePlugin({
  apiVersion: 1,
  kind: 'data-source',
  name: 'mixture',
  description: 'Several sources of conversations under names, to be balanced by "source".',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    required: ['sources'],
    properties: {
      sources: {
        type: 'array',
        minItems: 1,
        items: {
          type: 'object',
          additionalProperties: false,
          required: ['name', 'path'],
          properties: {
            name: { type: 'string', minLength: 1, description: 'What the source is called in the balance.' },
            path: {
              type: 'array',
              minItems: 1,
              items: { type: 'string', minLength: 1 },
              description: 'Files, folders or globs.',
            },
            layout: { enum: ['auto', ...LAYOUT_NAMES], default: 'auto', description: 'How the rows are written.' },
            columns: {
              description: 'What the parts are called in the files.',
              type: 'object',
              additionalProperties: false,
              properties: columnProperties,
            },
            roles: {
              description: 'What roles in the files stand for.',
              type: 'object',
              additionalProperties: { type: 'string', minLength: 1 },
            },
            limit: {
              type: ['integer', 'null'],
              minimum: 1,
              default: null,
              description: 'Take only the first this many conversations.',
            },
          },
        },
      },
    },
  } as const,
  create: ({ sources }, context) => createMixtureSource(sources, context.baseFolder),
});
