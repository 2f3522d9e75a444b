import {
  equals,
  flag,
  integer,
  isList,
  isMissing,
  isNone,
  isNumber,
  isText,
  list,
  missing,
  printed,
  text,
  tuple,
  typeName,
} from './values.js';
import type { Value } from './library.js';

/** Positional and keyword arguments of a call. */
export interface Arguments {
  readonly positional: readonly Value[];
  readonly keywords: ReadonlyMap<string, Value>;
}

type Method = (self: string, args: Arguments) => Value;

/**
 * The white space of Python's `str.strip` and `str.split`. Unlike JavaScript's, it includes U+001C to U+001F and
 * U+0085, but not U+FEFF.
 */
const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const LEADING = new RegExp(`^[${SPACE}]+`, 'u');
const TRAILING = new RegExp(`[${SPACE}]+$`, 'u');
const WORDS = new RegExp(`[^${SPACE}]+`, 'gu');

/** The line breaks of Python's `str.splitlines`. */
const BREAK = '\\n\\r\\v\\f\\x1c-\\x1e\\x85\\u2028\\u2029';
const LINES = new RegExp(`[^${BREAK}]*(?:\\r\\n|[${BREAK}])|[^${BREAK}]+$`, 'gu');
const LINE_END = new RegExp(`(?:\\r\\n|[${BREAK}])$`, 'u');

/** Implements Python's `str.strip`, `lstrip` and `rstrip`; `characters` null means white space. */
export function strip(self: string, characters: string | null, left = true, right = true): string {
  if (characters === null) {
    const from = left ? self.replace(LEADING, '') : self;
    return right ? from.replace(TRAILING, '') : from;
  }
  const set = new Set(characters);
  const units = Array.from(self);
  let start = 0;
  let end = units.length;
  if (left) while (start < end && set.has(units[start] ?? '')) start++;
  if (right) while (end > start && set.has(units[end - 1] ?? '')) end--;
  return units.slice(start, end).join('');
}

function argument({ positional, keywords }: Arguments, index: number, name: string): Value | undefined {
  return positional[index] ?? keywords.get(name);
}

function textArgument(args: Arguments, index: number, name: string): string {
  const value = argument(args, index, name);
  if (value === undefined || !isText(value))
    throw new Error(`argument ${index + 1} must be str, not ${value === undefined ? 'nothing' : typeName(value)}`);
  return value.value;
}

function optionalText(args: Arguments, index: number, name: string): string | null {
  const value = argument(args, index, name);
  return value === undefined || isNone(value) ? null : textArgument(args, index, name);
}

function count(args: Arguments, index: number, name: string): number {
  const value = argument(args, index, name);
  return value !== undefined && isNumber(value) && value.value >= 0 ? value.value : Infinity;
}

const stripping =
  (left: boolean, right: boolean): Method =>
  (self, args) =>
    text(strip(self, optionalText(args, 0, 'chars'), left, right));
const texts = (items: readonly string[]): Value => list(items.map(text));

/** Implements Python's `str.split` and `rsplit`; a null separator means white space. */
function splitText(self: string, separator: string | null, maxSplits: number, fromRight: boolean): string[] {
  if (separator === '') throw new Error('empty separator');
  const ranges =
    separator === null
      ? Array.from(self.matchAll(WORDS), ({ index, 0: word }) => [index, index + word.length] as const)
      : rangesBetween(self, separator);
  const fields = ranges.map(([start, end]) => self.slice(start, end));
  if (fields.length <= maxSplits + 1) return fields;
  const kept = fromRight ? ranges.length - maxSplits : maxSplits;
  const edge = ranges[fromRight ? kept - 1 : kept];
  if (edge === undefined) return fields;
  return fromRight ? [self.slice(0, edge[1]), ...fields.slice(kept)] : [...fields.slice(0, kept), self.slice(edge[0])];
}

function rangesBetween(self: string, separator: string): (readonly [number, number])[] {
  const ranges: (readonly [number, number])[] = [];
  let from = 0;
  for (let at = self.indexOf(separator); at >= 0; at = self.indexOf(separator, from)) {
    ranges.push([from, at]);
    from = at + separator.length;
  }
  return [...ranges, [from, self.length]];
}

function affix(args: Arguments, test: (affix: string) => boolean): Value {
  const value = args.positional[0] ?? missing;
  const candidates = isList(value) ? value.value : [value];
  if (!candidates.every(isText)) throw new Error(`first arg must be str or a tuple of str, not ${typeName(value)}`);
  return flag(candidates.some((candidate) => isText(candidate) && test(candidate.value)));
}

const partition = (self: string, at: number, separator: string, none: readonly string[]): Value =>
  tuple((at < 0 ? none : [self.slice(0, at), separator, self.slice(at + separator.length)]).map(text));
const capitalized = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1).toLowerCase();

/** Methods of Python's `str`, with Python's arguments and edge cases, in which the library's methods differ. */
export const textMethods: Readonly<Record<string, Method>> = {
  strip: stripping(true, true),
  lstrip: stripping(true, false),
  rstrip: stripping(false, true),
  split: (self, args) => texts(splitText(self, optionalText(args, 0, 'sep'), count(args, 1, 'maxsplit'), false)),
  rsplit: (self, args) => texts(splitText(self, optionalText(args, 0, 'sep'), count(args, 1, 'maxsplit'), true)),
  splitlines: (self, args) => {
    const keep = args.positional[0] ?? args.keywords.get('keepends');
    const lines = self.match(LINES) ?? [];
    return texts(keep !== undefined && keep.__bool__().value ? lines : lines.map((line) => line.replace(LINE_END, '')));
  },
  partition: (self, args) =>
    partition(self, self.indexOf(textArgument(args, 0, 'sep')), textArgument(args, 0, 'sep'), [self, '', '']),
  rpartition: (self, args) =>
    partition(self, self.lastIndexOf(textArgument(args, 0, 'sep')), textArgument(args, 0, 'sep'), ['', '', self]),
  startswith: (self, args) => affix(args, (prefix) => self.startsWith(prefix)),
  endswith: (self, args) => affix(args, (suffix) => self.endsWith(suffix)),
  removeprefix: (self, args) =>
    text(self.startsWith(textArgument(args, 0, 'prefix')) ? self.slice(textArgument(args, 0, 'prefix').length) : self),
  removesuffix: (self, args) =>
    text(
      textArgument(args, 0, 'suffix') !== '' && self.endsWith(textArgument(args, 0, 'suffix'))
        ? self.slice(0, -textArgument(args, 0, 'suffix').length)
        : self,
    ),
  replace: (self, args) =>
    text(replaceText(self, textArgument(args, 0, 'old'), textArgument(args, 1, 'new'), count(args, 2, 'count'))),
  join: (self, args) => {
    const iterable = args.positional[0] ?? missing;
    const items = isList(iterable) ? iterable.value : isText(iterable) ? Array.from(iterable.value, text) : null;
    if (items === null || !items.every(isText)) throw new Error('can only join an iterable of str');
    return text(items.map(printed).join(self));
  },
  find: (self, args) => integer(codePoints(self, self.indexOf(textArgument(args, 0, 'sub')))),
  rfind: (self, args) => integer(codePoints(self, self.lastIndexOf(textArgument(args, 0, 'sub')))),
  count: (self, args) => integer(self.split(textArgument(args, 0, 'sub')).length - 1),
  upper: (self) => text(self.toUpperCase()),
  lower: (self) => text(self.toLowerCase()),
  title: (self) => text(self.replace(/\p{L}+/gu, capitalized)),
  capitalize: (self) => text(capitalized(self)),
  isdigit: (self) => flag(/^\p{Nd}+$/u.test(self)),
  isalpha: (self) => flag(/^\p{L}+$/u.test(self)),
  isalnum: (self) => flag(/^[\p{L}\p{N}]+$/u.test(self)),
  isspace: (self) => flag(self !== '' && strip(self, null) === ''),
  isupper: (self) => flag(/\p{Lu}/u.test(self) && self === self.toUpperCase()),
  islower: (self) => flag(/\p{Ll}/u.test(self) && self === self.toLowerCase()),
  zfill: (self, args) =>
    text(
      /^[+-]/.test(self)
        ? self.charAt(0) + self.slice(1).padStart(count(args, 0, 'width') - 1, '0')
        : self.padStart(Math.min(count(args, 0, 'width'), 10_000), '0'),
    ),
  format: (self, { positional, keywords }) => {
    let next = 0;
    return text(
      self.replace(/\{\{|\}\}|\{(\w*)\}/g, (written, name: string | undefined) => {
        if (name === undefined) return written.charAt(0);
        const value = name === '' ? positional[next++] : (keywords.get(name) ?? positional[Number(name)]);
        if (value === undefined || isMissing(value)) throw new Error('Replacement index out of range');
        return printed(value);
      }),
    );
  },
};

const codePoints = (self: string, at: number): number => (at < 0 ? -1 : Array.from(self.slice(0, at)).length);

function replaceText(self: string, old: string, next: string, maxCount: number): string {
  const fields = old === '' ? ['', ...Array.from(self), ''] : self.split(old);
  if (fields.length - 1 <= maxCount) return fields.join(next);
  return (
    fields
      .slice(0, maxCount)
      .map((field) => field + next)
      .join('') + fields.slice(maxCount).join(old)
  );
}

/** Methods of Python's `list` that do not modify the list. */
export const listMethods: Readonly<Record<string, (self: readonly Value[], args: Arguments) => Value>> = {
  count: (self, args) => integer(self.filter((item) => equals(item, args.positional[0] ?? missing)).length),
  index: (self, args) => {
    const at = self.findIndex((item) => equals(item, args.positional[0] ?? missing));
    if (at < 0) throw new Error('the item is not in the list');
    return integer(at);
  },
};
