import { definePlugin } from '@whetstone/core/contract';
import { COLUMN_NAMES, FORMATS, LAYOUT_NAMES, TEXT_UNITS, type ColumnName } from '../choices.js';

/** What stands under "columns". */
const columnProperties = Object.fromEntries(
  COLUMN_NAMES.map((name) => [name, { type: 'string', minLength: 1 }]),
) as Readonly<Record<ColumnName, { readonly type: 'string'; readonly minLength: 1 }>>;

const configSchema = {
  type: 'object',
  required: ['path'],
  additionalProperties: false,
  properties: {
    path: {
      description:
        'A file, a folder, a glob, or a list of them; relative ones start from the folder of the configuration.',
      anyOf: [
        { type: 'string', minLength: 1 },
        { type: 'array', minItems: 1, items: { type: 'string', minLength: 1 } },
      ],
    },
    layout: {
      description: 'How the rows are written; by default each file is looked at.',
      enum: ['auto', ...LAYOUT_NAMES],
      default: 'auto',
    },
    format: {
      description: 'What the files are; by default their endings say it.',
      enum: ['auto', ...FORMATS],
      default: 'auto',
    },
    textUnit: { description: 'What of a plain text file is one sample.', enum: [...TEXT_UNITS], default: 'line' },
    columns: {
      description: 'What the parts are called in the file, as {"prompt": "question"}.',
      type: 'object',
      additionalProperties: false,
      properties: columnProperties,
    },
    roles: {
      description: 'What roles in the file stand for, as {"customer": "user", "agent": "assistant"}.',
      type: 'object',
      additionalProperties: { type: 'string', minLength: 1 },
    },
    limit: {
      description: 'Take only the first this many conversations.',
      type: ['integer', 'null'],
      minimum: 1,
      default: null,
    },
    maxRowBytes: {
      description: 'Rows longer than this are reported instead of read.',
      type: 'integer',
      minimum: 1,
      default: 33554432,
    },
    maxGroupBytes: {
      description:
        'Row groups of Parquet files with nested columns and no page index that are larger than this, ' +
        'uncompressed, are an error: they can only be decoded whole.',
      type: 'integer',
      minimum: 1,
      default: 536870912,
    },
  },
} as const;

/** `{"use": "conversations", "options": {"path": "train.jsonl"}}`: conversations from files. */
export const conversationsPlugin = definePlugin({
  apiVersion: 1,
  kind: 'data-source',
  name: 'conversations',
  description: 'Conversations from files: JSON Lines, JSON, CSV, Parquet and text, in any of the common layouts.',
  configSchema,
  create: async (options, context) => {
    const { createConversationSource } = await import('./conversations.js');
    return createConversationSource(options, context.baseFolder);
  },
});

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
  create: async ({ sources }, context) => {
    const { createMixtureSource } = await import('./mixture.js');
    return createMixtureSource(sources, context.baseFolder);
  },
});
