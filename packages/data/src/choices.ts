/** The values that options of data plugins and commands can have: loaded without what they stand for. */

export const LAYOUT_NAMES = ['conversation', 'messages', 'sharegpt', 'prompt-completion', 'alpaca', 'text'] as const;
export type LayoutName = (typeof LAYOUT_NAMES)[number];

/** The names under which a layout finds its parts; a mapping renames them (`{"prompt": "question"}`). */
export const COLUMN_NAMES = [
  'conversation',
  'messages',
  'conversations',
  'tools',
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

export const TEXT_UNITS = ['line', 'paragraph', 'document'] as const;
/** What of a text file is one sample: a line, what stands between blank lines, or the whole file. */
export type TextUnit = (typeof TEXT_UNITS)[number];

export const TRUNCATION_MODES = ['keep_start', 'keep_end', 'drop_turns', 'error'] as const;

/**
 * What happens to a sample that is longer than `maxLength`: its start is kept (TRL's default), or its end; whole old
 * exchanges are dropped until the rest fits (the system message stays); or it is an error.
 */
export type TruncationMode = (typeof TRUNCATION_MODES)[number];

export const DUPLICATE_PARTS = ['conversation', 'prompt', 'reply'] as const;
/** What of two conversations is compared: all of both, what is asked (all but the last reply), or what is answered. */
export type DuplicatePart = (typeof DUPLICATE_PARTS)[number];

/** In this order: what is found first keeps its place where two overlap. */
export const PERSONAL_DATA_KINDS = ['email', 'national-id', 'card', 'iban', 'ip', 'phone', 'address', 'name'] as const;
export type PersonalDataKind = (typeof PERSONAL_DATA_KINDS)[number];
