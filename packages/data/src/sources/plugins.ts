import { definePlugin } from '@whetstone/core/contract';
import {
  COLUMN_NAMES,
  DEFAULT_MAX_GROUP_BYTES,
  DEFAULT_MAX_ROW_BYTES,
  FORMATS,
  LAYOUT_NAMES,
  TEXT_UNITS,
  type ColumnName,
  type Format,
} from '../choices.js';

/** The schema properties of the option "columns". */
const columnProperties = Object.fromEntries(
  COLUMN_NAMES.map((name) => [name, { type: 'string', minLength: 1 }]),
) as Readonly<Record<ColumnName, { readonly type: 'string'; readonly minLength: 1 }>>;

const pathSchema = {
  description:
    'A file, a folder, a glob, or a list of them. Relative paths start from the folder of the configuration.',
  anyOf: [
    { type: 'string', minLength: 1 },
    { type: 'array', minItems: 1, items: { type: 'string', minLength: 1 } },
  ],
} as const;

const configSchema = {
  type: 'object',
  required: ['path'],
  additionalProperties: false,
  properties: {
    path: pathSchema,
    layout: {
      description: 'The layout of the rows; by default it is detected for each file.',
      enum: ['auto', ...LAYOUT_NAMES],
      default: 'auto',
    },
    format: {
      description: 'The format of the files; by default it is derived from the file extension.',
      enum: ['auto', ...FORMATS],
      default: 'auto',
    },
    textUnit: {
      description: 'The unit of a plain text file that is one sample.',
      enum: [...TEXT_UNITS],
      default: 'line',
    },
    columns: {
      description: 'Names of the columns in the file, for example {"prompt": "question"}.',
      type: 'object',
      additionalProperties: false,
      properties: columnProperties,
    },
    roles: {
      description: 'Maps roles in the file to standard roles, for example {"customer": "user", "agent": "assistant"}.',
      type: 'object',
      additionalProperties: { type: 'string', minLength: 1 },
    },
    limit: {
      description: 'The most conversations to read; null for all.',
      type: ['integer', 'null'],
      minimum: 1,
      default: null,
    },
    maxRowBytes: {
      description: 'Rows above this size are reported as unreadable.',
      type: 'integer',
      minimum: 1,
      default: DEFAULT_MAX_ROW_BYTES,
    },
    maxGroupBytes: {
      description:
        'The largest uncompressed size of a Parquet row group that has nested columns and no page index. A larger ' +
        'one is an error, as it must be decoded at once.',
      type: 'integer',
      minimum: 1,
      default: DEFAULT_MAX_GROUP_BYTES,
    },
  },
} as const;

/** Conversations from files: `{"use": "conversations", "options": {"path": "train.jsonl"}}`. */
export const conversations = definePlugin({
  apiVersion: 2,
  kind: 'data-source',
  name: 'conversations',
  description: 'Reads conversations from files: JSON Lines, JSON, CSV, Parquet and text, in any common layout.',
  configSchema,
  create: async (options, context) => {
    const { createConversationSource } = await import('./conversations.js');
    const source = await createConversationSource(options, context.baseFolder);
    const { formatOf } = await import('../reading/read-rows.js');
    const { format: configured = 'auto' } = options;
    const formats = new Set(configured === 'auto' ? source.files.map(formatOf) : [configured]);
    const { warnAboutUnused, when } = await import('../unused-options.js');
    const lacks = (format: Format, files: string): string | null => when(!formats.has(format), `there is no ${files}`);
    warnAboutUnused(context, 'conversations', {
      textUnit: lacks('text', 'plain text file'),
      maxGroupBytes: lacks('parquet', 'Parquet file'),
    });
    return source;
  },
});

export const mixture = definePlugin({
  apiVersion: 2,
  kind: 'data-source',
  name: 'mixture',
  description: 'Reads conversations from several named sources, which can be balanced by "source".',
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
            name: { type: 'string', minLength: 1, description: 'The name of the source, as used in the balance.' },
            path: pathSchema,
            layout: { enum: ['auto', ...LAYOUT_NAMES], default: 'auto', description: 'The layout of the rows.' },
            columns: {
              description: 'Names of the columns in the files.',
              type: 'object',
              additionalProperties: false,
              properties: columnProperties,
            },
            roles: {
              description: 'Maps roles in the files to standard roles.',
              type: 'object',
              additionalProperties: { type: 'string', minLength: 1 },
            },
            limit: {
              type: ['integer', 'null'],
              minimum: 1,
              default: null,
              description: 'The most conversations to read; null for all.',
            },
          },
        },
      },
    },
  } as const,
  create: async ({ sources }, context) => {
    const { createMixtureSource } = await import('./conversations.js');
    return createMixtureSource(sources, context.baseFolder);
  },
});
