/** The values of options of data plugins and commands. This module loads no implementation. */
import { batchSchema } from '@whetstone/core/contract';

export const LAYOUT_NAMES = ['conversation', 'messages', 'sharegpt', 'prompt-completion', 'alpaca', 'text'] as const;
export type LayoutName = (typeof LAYOUT_NAMES)[number];

/** The standard names of columns in layouts; the option `columns` maps them to the names in a file. */
export const COLUMN_NAMES = [
  'conversation',
  'messages',
  'conversations',
  'tools',
  'chat_template_kwargs',
  'role',
  'content',
  'from',
  'value',
  'prompt',
  'completion',
  'instruction',
  'input',
  'output',
  'system',
  'history',
  'text',
] as const;
export type ColumnName = (typeof COLUMN_NAMES)[number];

export const FORMATS = ['jsonl', 'json', 'csv', 'parquet', 'text'] as const;
export type Format = (typeof FORMATS)[number];

/** The default size in bytes above which a row is reported as unreadable: about 8 million tokens. */
export const DEFAULT_MAX_ROW_BYTES = 32 * 1024 * 1024;

/**
 * The default uncompressed size in bytes above which a Parquet row group is not decoded at once. It takes 2 to 3 times
 * as much memory.
 */
export const DEFAULT_MAX_GROUP_BYTES = 512 * 1024 * 1024;

export const TEXT_UNITS = ['line', 'paragraph', 'document'] as const;
/** The unit of a text file that is one sample: a line, a paragraph between blank lines, or the complete file. */
export type TextUnit = (typeof TEXT_UNITS)[number];

export const TRUNCATION_MODES = batchSchema.properties.truncationMode.enum;

/**
 * What happens to a sample that is longer than `maxLength`: its start is kept (TRL's default); its end is kept;
 * complete old exchanges are removed, except for the system message; or it is an error.
 */
export type TruncationMode = (typeof TRUNCATION_MODES)[number];

export const DUPLICATE_PARTS = ['conversation', 'prompt', 'reply'] as const;
/** What is compared to find duplicates: the conversation, its prompt (all but the last reply), or its last reply. */
export type DuplicatePart = (typeof DUPLICATE_PARTS)[number];

/** The kinds of personal data by priority: if two detections overlap, the first kind is used. */
export const PERSONAL_DATA_KINDS = ['email', 'national-id', 'card', 'iban', 'ip', 'phone', 'address', 'name'] as const;
export type PersonalDataKind = (typeof PERSONAL_DATA_KINDS)[number];
