import { bind, integerOf } from './arguments.js';
import {
  characterCount,
  charactersOf,
  joinedTexts,
  lastPositionOf,
  positionOf,
  positions,
  repeated,
  splitAt,
  trimmed,
} from './bounded-text.js';
import { countSteps, exceeded, MAX_WIDTH } from './bounds.js';
import {
  equals,
  flag,
  integer,
  isNone,
  isText,
  iterate,
  list,
  missing,
  printed,
  text,
  tuple,
  typeName,
  type Arguments,
  type Value,
} from './values.js';

type Method = (self: string, args: Arguments) => Value;

/**
 * The white space of Python's `str.strip` and `str.split`. Unlike JavaScript's, it includes U+001C to U+001F and
 * U+0085, but not U+FEFF.
 */
const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const IS_SPACE = new RegExp(`[${SPACE}]`, 'u');
const WORDS = new RegExp(`[^${SPACE}]+`, 'gu');

/** The line breaks of Python's `str.splitlines`. */
const BREAK = '\\n\\r\\v\\f\\x1c-\\x1e\\x85\\u2028\\u2029';
const LINES = new RegExp(`[^${BREAK}]*(?:\\r\\n|[${BREAK}])|[^${BREAK}]+$`, 'gu');
const IS_BREAK = new RegExp(`[${BREAK}]`, 'u');

const isSpace = (unit: number): boolean =>
  (unit >= 0x09 && unit <= 0x0d) ||
  (unit >= 0x1c && unit <= 0x20) ||
  (unit > 0x7f && IS_SPACE.test(String.fromCharCode(unit)));

/** Implements Python's `str.strip`, `lstrip` and `rstrip`; `characters` null means white space. */
export function strip(self: string, characters: string | null, left = true, right = true): string {
  if (characters === null) return trimmed(self, isSpace, left, right);
  const set = new Set(charactersOf(characters));
  const units = charactersOf(self);
  let start = 0;
  let end = units.length;
  if (left) while (start < end && set.has(units[start] ?? '')) start++;
  if (right) while (end > start && set.has(units[end - 1] ?? '')) end--;
  return joinedTexts(units.slice(start, end));
}

const isBreak = (unit: number): boolean => IS_BREAK.test(String.fromCharCode(unit));

/** Implements Python's `str.splitlines`. */
export function linesOfText(self: string, keepEnds = false): string[] {
  const lines = self.match(LINES) ?? [];
  countSteps(lines.length);
  return keepEnds ? lines : lines.map((line) => trimmed(line, isBreak, false, true));
}

/** Returns the words of a text, separated by white space. */
export const wordsOf = (self: string): string[] => self.match(WORDS) ?? [];

function textArgument(label: string, args: Arguments, ...names: readonly string[]): string[] {
  const bound = bind(label, args, ...names);
  return names.map((name) => {
    const value = bound.need(name);
    if (!isText(value)) throw new Error(`the argument '${name}' of ${label} must be str, not ${typeName(value)}`);
    return value.value;
  });
}

const none = (label: string, args: Arguments): void => void bind(label, args);

const stripping =
  (label: string, left: boolean, right: boolean): Method =>
  (self, args) =>
    text(strip(self, bind(label, args, 'chars').text('chars'), left, right));
function texts(items: readonly string[]): Value {
  countSteps(items.length);
  return list(items.map(text));
}

/** Implements Python's `str.split` and `rsplit`; a null separator means white space. */
function splitText(self: string, separator: string | null, maxSplits: number, fromRight: boolean): string[] {
  if (separator === '') throw new Error('empty separator');
  const ranges = separator === null ? wordRanges(self) : rangesBetween(self, separator, fromRight);
  const fields = ranges.map(([start, end]) => self.slice(start, end));
  // Without a separator, the last field keeps the white space at its end.
  if (fields.length <= maxSplits + (separator === null ? 0 : 1)) return fields;
  const kept = fromRight ? ranges.length - maxSplits : maxSplits;
  const edge = ranges[fromRight ? kept - 1 : kept];
  if (edge === undefined) return fields;
  return fromRight ? [self.slice(0, edge[1]), ...fields.slice(kept)] : [...fields.slice(0, kept), self.slice(edge[0])];
}

function wordRanges(self: string): (readonly [number, number])[] {
  const ranges: (readonly [number, number])[] = [];
  for (const { index, 0: word } of self.matchAll(WORDS)) {
    countSteps(1);
    ranges.push([index, index + word.length]);
  }
  return ranges;
}

function rangesBetween(self: string, separator: string, fromRight: boolean): (readonly [number, number])[] {
  const ranges: (readonly [number, number])[] = [];
  if (!fromRight) {
    let from = 0;
    for (const part of splitAt(self, separator)) {
      ranges.push([from, from + part.length]);
      from += part.length + separator.length;
    }
    return ranges;
  }
  let end = self.length;
  for (const at of [...positions(self, separator, 0)].reverse()) {
    if (at + separator.length > end) continue;
    countSteps(1);
    ranges.push([at + separator.length, end]);
    end = at;
  }
  return [...ranges, [0, end] as const].reverse();
}

const splitting =
  (label: string, fromRight: boolean): Method =>
  (self, args) => {
    const bound = bind(label, args, 'sep', 'maxsplit');
    const most = bound.integer('maxsplit', -1);
    return texts(splitText(self, bound.text('sep'), most < 0 ? Infinity : most, fromRight));
  };

/** Cuts a text to the range of the arguments `start` and `end`, which count code points. */
function ranged(
  self: string,
  start: Value | undefined,
  end: Value | undefined,
): { readonly part: string; readonly offset: number } | null {
  if (start === undefined && end === undefined) return { part: self, offset: 0 };
  const units = charactersOf(self);
  const position = (value: Value | undefined, byDefault: number): number => {
    if (value === undefined || isNone(value)) return byDefault;
    const at = integerOf(value);
    return at < 0 ? Math.max(0, at + units.length) : at;
  };
  const [from, to] = [position(start, 0), Math.min(units.length, position(end, units.length))];
  return from > to || from > units.length ? null : { part: joinedTexts(units.slice(from, to)), offset: from };
}

const affix =
  (label: string, test: (self: string, affix: string) => boolean): Method =>
  (self, args) => {
    const bound = bind(label, args, 'affix', 'start', 'end');
    const value = bound.need('affix');
    const candidates = value.type === 'tuple' ? value.value : [value];
    if (!candidates.every(isText))
      throw new Error(`${label} first arg must be str or a tuple of str, not ${typeName(value)}`);
    const within = ranged(self, bound.get('start'), bound.get('end'));
    return flag(within !== null && candidates.some(({ value: candidate }) => test(within.part, candidate)));
  };

/** Finds a text in a text; returns the position in code points, or -1. */
const finding =
  (label: string, last: boolean, mustExist: boolean): Method =>
  (self, args) => {
    const bound = bind(label, args, 'sub', 'start', 'end');
    const sub = bound.text('sub');
    if (sub === null) throw new Error(`${label} must be called with str`);
    const within = ranged(self, bound.get('start'), bound.get('end'));
    const at = within === null ? -1 : last ? lastPositionOf(within.part, sub) : positionOf(within.part, sub);
    if (at < 0 && mustExist) throw new Error('substring not found');
    return integer(at < 0 || within === null ? -1 : within.offset + characterCount(within.part.slice(0, at)));
  };

const partition =
  (label: string, last: boolean): Method =>
  (self, args) => {
    const [separator = ''] = textArgument(label, args, 'sep');
    if (separator === '') throw new Error('empty separator');
    const at = last ? lastPositionOf(self, separator) : positionOf(self, separator);
    if (at < 0) return tuple((last ? ['', '', self] : [self, '', '']).map(text));
    return tuple([self.slice(0, at), separator, self.slice(at + separator.length)].map(text));
  };

/** Letters whose title case is not their upper case. */
const DIGRAPHS: Readonly<Record<string, string>> = { ǆ: 'ǅ', ǉ: 'ǈ', ǌ: 'ǋ', ǳ: 'ǲ' };

const capitalized = (word: string): string => {
  const [first = ''] = word;
  const digraph = DIGRAPHS[first];
  if (digraph !== undefined) return digraph + word.slice(first.length).toLowerCase();
  // Python writes the title case of ligatures: Dž, not DŽ.
  const upper = first.toUpperCase();
  const title = upper.length > first.length ? upper.charAt(0) + upper.slice(1).toLowerCase() : upper;
  return title + word.slice(first.length).toLowerCase();
};

function checkWidth(width: number): void {
  if (width > MAX_WIDTH) exceeded('A width of the template is too large', MAX_WIDTH, 'characters');
}

function widthOf(label: string, args: Arguments): { readonly width: number; readonly fill: string } {
  const bound = bind(label, args, 'width', 'fillchar');
  const width = integerOf(bound.need('width'));
  const fill = bound.get('fillchar') === undefined ? ' ' : (bound.text('fillchar') ?? '');
  if (characterCount(fill) !== 1) throw new Error('The fill character must be exactly one character long');
  checkWidth(width);
  return { width, fill };
}

/** Implements `str.center`. */
export function centered(self: string, width: number, fill = ' '): string {
  checkWidth(width);
  const space = Math.max(0, width - characterCount(self));
  const left = Math.floor(space / 2) + (space & width & 1);
  return repeated(fill, left) + self + repeated(fill, space - left);
}

const padding =
  (label: string, left: boolean): Method =>
  (self, args) => {
    const { width, fill } = widthOf(label, args);
    const space = repeated(fill, width - characterCount(self));
    return text(left ? self + space : space + self);
  };

const changing =
  (label: string, change: (self: string) => string): Method =>
  (self, args) => {
    none(label, args);
    return text(change(self));
  };

const testing =
  (label: string, test: (self: string) => boolean): Method =>
  (self, args) => {
    none(label, args);
    return flag(test(self));
  };

const hasCase = (self: string): boolean => /[\p{Lu}\p{Ll}\p{Lt}]/u.test(self);
/** Implements `str.islower`. */
export const isLower = (self: string): boolean => hasCase(self) && !/[\p{Lu}\p{Lt}]/u.test(self);
/** Implements `str.isupper`. */
export const isUpper = (self: string): boolean => hasCase(self) && !/[\p{Ll}\p{Lt}]/u.test(self);
/** Implements `str.capitalize`. */
export const capitalize = (self: string): string => capitalized(self);

/** The widest tab. */
const MAX_TAB = 1000;

function expandTabs(self: string, size: number): string {
  let column = 0;
  let result = '';
  for (const character of self) {
    if (character === '\t') {
      const count = size > 0 ? size - (column % size) : 0;
      result += repeated(' ', count);
      column += count;
    } else {
      result += character;
      column = character === '\n' || character === '\r' ? 0 : column + 1;
    }
  }
  return result;
}

const unsupported =
  (label: string): Method =>
  () => {
    throw new Error(`the method ${label}() is not supported in chat templates`);
  };

/** Methods of Python's `str`, with Python's arguments and edge cases; `format` is in `format.ts`. */
export const textMethods: Readonly<Record<string, Method>> = {
  strip: stripping('strip', true, true),
  lstrip: stripping('lstrip', true, false),
  rstrip: stripping('rstrip', false, true),
  split: splitting('split', false),
  rsplit: splitting('rsplit', true),
  splitlines: (self, args) => texts(linesOfText(self, bind('splitlines', args, 'keepends').isTrue('keepends'))),
  partition: partition('partition', false),
  rpartition: partition('rpartition', true),
  startswith: affix('startswith', (self, prefix) => self.startsWith(prefix)),
  endswith: affix('endswith', (self, suffix) => self.endsWith(suffix)),
  removeprefix: (self, args) => {
    const [prefix = ''] = textArgument('removeprefix', args, 'prefix');
    return text(self.startsWith(prefix) ? self.slice(prefix.length) : self);
  },
  removesuffix: (self, args) => {
    const [suffix = ''] = textArgument('removesuffix', args, 'suffix');
    return text(suffix !== '' && self.endsWith(suffix) ? self.slice(0, -suffix.length) : self);
  },
  replace: (self, args) => {
    const bound = bind('replace', args, 'old', 'new', 'count');
    const [old, next] = [bound.text('old'), bound.text('new')];
    if (old === null || next === null) throw new Error('replace() takes two texts');
    return text(replaceText(self, old, next, bound.integer('count', -1)));
  },
  join: (self, args) => {
    const items = iterate(bind('join', args, 'iterable').need('iterable'));
    const wrong = items.findIndex((item) => !isText(item));
    if (wrong >= 0)
      throw new Error(`sequence item ${wrong}: expected str instance, ${typeName(items[wrong] ?? missing)} found`);
    return text(joinedTexts(items.map(printed), self));
  },
  find: finding('find', false, false),
  rfind: finding('rfind', true, false),
  index: finding('index', false, true),
  rindex: finding('rindex', true, true),
  count: (self, args) => {
    const bound = bind('count', args, 'sub', 'start', 'end');
    const sub = bound.text('sub');
    if (sub === null) throw new Error('count() takes a text');
    const within = ranged(self, bound.get('start'), bound.get('end'));
    if (within === null) return integer(0);
    return integer(sub === '' ? characterCount(within.part) + 1 : splitAt(within.part, sub).length - 1);
  },
  upper: changing('upper', (self) => self.toUpperCase()),
  lower: changing('lower', (self) => self.toLowerCase()),
  casefold: changing('casefold', (self) => {
    const folded = self.toLowerCase().replaceAll('ß', 'ss').replaceAll('ς', 'σ');
    if (/[^\p{ASCII}äöüàâçéèêëîïôûùœæñáíóúøåșțß\p{Lo}\p{N}\p{P}\p{S}\p{Z}σ\p{M}а-яα-ω]/u.test(folded))
      throw new Error('the method casefold() does not support this text');
    return folded;
  }),
  title: changing('title', (self) => self.replace(/\p{L}[\p{L}\p{M}]*/gu, capitalized)),
  capitalize: changing('capitalize', capitalized),
  swapcase: changing('swapcase', (self) =>
    joinedTexts(charactersOf(self).map((one) => (one === one.toUpperCase() ? one.toLowerCase() : one.toUpperCase()))),
  ),
  expandtabs: (self, args) => {
    const size = bind('expandtabs', args, 'tabsize').integer('tabsize', 8);
    if (size > MAX_TAB) exceeded('A tab of the template is too wide', MAX_TAB, 'spaces');
    return text(expandTabs(self, size));
  },
  center: (self, args) => {
    const { width, fill } = widthOf('center', args);
    return text(centered(self, width, fill));
  },
  ljust: padding('ljust', true),
  rjust: padding('rjust', false),
  zfill: (self, args) => {
    const width = integerOf(bind('zfill', args, 'width').need('width'));
    checkWidth(width);
    const zeros = repeated('0', width - characterCount(self));
    return text(/^[+-]/.test(self) ? self.charAt(0) + zeros + self.slice(1) : zeros + self);
  },
  isdigit: testing('isdigit', (self) => /^[\p{Nd}²³¹⁰⁴-⁹₀-₉]+$/u.test(self)),
  isdecimal: testing('isdecimal', (self) => /^\p{Nd}+$/u.test(self)),
  isnumeric: testing('isnumeric', (self) => /^\p{N}+$/u.test(self)),
  isalpha: testing('isalpha', (self) => /^\p{L}+$/u.test(self)),
  isalnum: testing('isalnum', (self) => /^[\p{L}\p{N}]+$/u.test(self)),
  isspace: testing('isspace', (self) => self !== '' && strip(self, null) === ''),
  isascii: testing('isascii', (self) => /^\p{ASCII}*$/u.test(self)),
  isprintable: testing('isprintable', (self) => !/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u.test(self)),
  isidentifier: testing('isidentifier', (self) => /^[\p{ID_Start}_][\p{ID_Continue}]*$/u.test(self)),
  isupper: testing('isupper', isUpper),
  islower: testing('islower', isLower),
  istitle: testing('istitle', (self) => hasCase(self) && self === self.replace(/\p{L}[\p{L}\p{M}]*/gu, capitalized)),
  encode: unsupported('encode'),
  format_map: unsupported('format_map'),
  translate: unsupported('translate'),
  maketrans: unsupported('maketrans'),
};

/** Implements `str.replace`; a negative count means all. */
export function replaceText(self: string, old: string, next: string, count: number): string {
  const fields = old === '' ? ['', ...charactersOf(self), ''] : splitAt(self, old);
  if (count < 0 || fields.length - 1 <= count) return joinedTexts(fields, next);
  return joinedTexts(fields.slice(0, count), next) + (count > 0 ? next : '') + joinedTexts(fields.slice(count), old);
}

type SequenceMethod = (self: readonly Value[], args: Arguments) => Value;

/** Methods of Python's lists, tuples and ranges that do not modify them. */
export const sequenceMethods: Readonly<Record<string, SequenceMethod>> = {
  count: (self, args) => {
    const item = bind('count', args, 'value').need('value');
    countSteps(self.length);
    return integer(self.filter((candidate) => equals(candidate, item)).length);
  },
  index: (self, args) => {
    const bound = bind('index', args, 'value', 'start', 'stop');
    const item = bound.need('value');
    const position = (at: number): number => (at < 0 ? Math.max(0, at + self.length) : at);
    const [start, stop] = [position(bound.integer('start', 0)), position(bound.integer('stop', self.length))];
    countSteps(self.length);
    const at = self.findIndex((candidate, index) => index >= start && index < stop && equals(candidate, item));
    if (at < 0) throw new Error(`${printed(item)} is not in list`);
    return integer(at);
  },
};
