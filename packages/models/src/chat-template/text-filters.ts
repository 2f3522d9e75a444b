/** Filters that format text. */
import type { Bound } from './arguments.js';
import { characterCount, charactersOf, joinedTexts } from './bounded-text.js';
import { countRead, countSteps } from './bounds.js';
import { fixed } from './numbers.js';
import { escapeHtml } from './html.js';
import { linesOfText, wordsOf } from './text-methods.js';
import {
  dictionary,
  isList,
  isMapping,
  isMissing,
  isNone,
  isText,
  iterate,
  keysOf,
  list,
  pairsOf,
  printed,
  representation,
  tuple,
  typeName,
  type Value,
} from './values.js';

/** Implements `filesizeformat`. */
export function fileSize(size: number, binary: boolean): string {
  const base = binary ? 1024 : 1000;
  const prefixes = binary ? ['Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei', 'Zi', 'Yi'] : ['k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'];
  if (size === 1) return '1 Byte';
  if (size < base) return `${Math.trunc(size) + 0} Bytes`;
  const at = prefixes.findIndex((_, index) => size < base ** (index + 2));
  const chosen = at === -1 ? prefixes.length - 1 : at;
  return `${fixed((base * size) / base ** (chosen + 2), 1)} ${prefixes[chosen]}B`;
}

/** Implements `truncate`. */
export function truncated(operand: Value, bound: Bound): Value {
  if (isMissing(operand)) return operand;
  if (!isText(operand) && !isMapping(operand) && !(isList(operand) && operand.type !== 'generator'))
    throw new Error(`object of type '${typeName(operand)}' has no len()`);
  const length = bound.integer('length', 255);
  const end = bound.get('end') === undefined ? '...' : (bound.text('end') ?? '');
  const leeway = bound.integer('leeway', 5);
  const kept = length - characterCount(end);
  if (kept < 0) throw new Error(`expected length >= ${Array.from(end).length}, got ${length}`);
  if (leeway < 0) throw new Error(`expected leeway >= 0, got ${leeway}`);
  const units = isText(operand) ? charactersOf(operand.value) : isMapping(operand) ? keysOf(operand) : operand.value;
  if (units.length <= length + leeway) return operand;
  if (!isText(operand)) throw new Error(`the filter "truncate" needs str, not ${typeName(operand)}`);
  const cut = joinedTexts((units as readonly string[]).slice(0, kept));
  if (bound.isTrue('killwords')) return { type: 'str', value: cut + end };
  const space = cut.lastIndexOf(' ');
  return { type: 'str', value: (space === -1 ? cut : cut.slice(0, space)) + end };
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0' };

/** Removes what starts with `open` and ends with `close`. @throws if the end is missing */
function without(html: string, open: string, close: string): string {
  const kept: string[] = [];
  let from = 0;
  for (let at = html.indexOf(open); at >= 0; at = html.indexOf(open, from)) {
    const end = html.indexOf(close, at + open.length);
    if (end < 0) throw new Error('the filter "striptags" does not support unclosed tags');
    countSteps(1);
    kept.push(html.slice(from, at));
    from = end + close.length;
  }
  kept.push(html.slice(from));
  return joinedTexts(kept);
}

/** Removes comments, then tags. */
function withoutTags(html: string): string {
  countRead(2 * html.length);
  const tagged = without(html, '<!--', '-->');
  if (tagged.includes('<!--')) throw new Error('the filter "striptags" does not support unclosed tags');
  return without(tagged, '<', '>');
}

/** Implements `striptags`: removes comments and tags, and joins white space. */
export function stripTags(html: string): string {
  const plain = withoutTags(html);
  return joinedTexts(wordsOf(plain), ' ').replace(/&(#x[\da-f]+|#\d+|\w+);?/gi, (whole, code: string) => {
    if (!code.startsWith('#')) {
      const entity = ENTITIES[code];
      if (entity !== undefined && whole.endsWith(';')) return entity;
      throw new Error(`the filter "striptags" does not support the entity ${whole}`);
    }
    const point = /^#x/i.test(code) ? parseInt(code.slice(2), 16) : Number(code.slice(1));
    if (point < 32 || (point >= 0x7f && point < 0xa0) || point > 0x10ffff)
      throw new Error(`the filter "striptags" does not support the entity ${whole}`);
    return String.fromCodePoint(point);
  });
}

function quoteUrl(plain: string, isQuery: boolean): string {
  const quoted = encodeURIComponent(plain).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return isQuery ? quoted.replaceAll('%20', '+') : quoted.replaceAll('%2F', '/');
}

/** Implements `urlencode`: a text, or the pairs of a query. */
export function urlEncoded(operand: Value): string {
  if (!isMapping(operand) && !isList(operand)) return quoteUrl(printed(operand), false);
  const pairs = isMapping(operand) ? pairsOf(operand).map(tuple) : iterate(operand);
  return pairs
    .map((pair) => {
      const [key, value, ...others] = iterate(pair);
      if (key === undefined || value === undefined || others.length > 0) throw new Error('urlencode needs pairs');
      return `${quoteUrl(printed(key), true)}=${quoteUrl(printed(value), true)}`;
    })
    .join('&');
}

/** Implements `xmlattr`. */
export function xmlAttributes(operand: Value, autospace: boolean): string {
  if (!isMapping(operand)) throw new Error(`'${typeName(operand)}' object has no attribute 'items'`);
  const attributes = pairsOf(operand)
    .filter(([, value]) => !isNone(value) && !isMissing(value))
    .map(([key, value]) => {
      if (!isText(key) || /[\s/>=]/.test(key.value))
        throw new Error(`Invalid character in attribute name: ${representation(key)}`);
      const escape = (part: Value): string =>
        isText(part) && part.safe === true ? part.value : escapeHtml(printed(part));
      return `${escape(key)}="${escape(value)}"`;
    })
    .join(' ');
  return autospace && attributes !== '' ? ` ${attributes}` : attributes;
}

/** The width of a line of `pprint`. */
const LINE = 80;

/** Implements `pprint` for values that fit into one line: dicts are sorted by their keys. */
export function pretty(operand: Value): string {
  const written = representation(sortedKeys(operand));
  if (characterCount(written) > LINE && (isMapping(operand) || isList(operand) || isText(operand)))
    throw new Error(`the filter "pprint" supports only values that fit into ${LINE} characters`);
  return written;
}

function sortedKeys(value: Value): Value {
  countSteps(1);
  if (value.type === 'list') return list(value.value.map(sortedKeys));
  if (value.type === 'tuple') return tuple(value.value.map(sortedKeys));
  if (!isMapping(value)) return value;
  if (value.others !== undefined) throw new Error('the filter "pprint" supports only dicts whose keys are texts');
  return dictionary(
    pairsOf(value)
      .map(([key, item]) => [key, sortedKeys(item)] as const)
      .sort(([a], [b]) => (printed(a) < printed(b) ? -1 : 1)),
  );
}

/** Implements `wordwrap`. */
export function wrapped(plain: string, bound: Bound): string {
  const width = bound.integer('width', 79);
  const breaksWords = bound.isTrue('break_long_words', true);
  const separator = bound.text('wrapstring') ?? '\n';
  if (width < 1) throw new Error(`invalid width ${width} (must be > 0)`);
  if (plain.includes('-') && bound.isTrue('break_on_hyphens', true))
    throw new Error('the filter "wordwrap" does not support hyphens; set break_on_hyphens=false');
  return joinedTexts(
    linesOfText(plain).map((line) => joinedTexts(wrapLine(line, width, breaksWords), separator)),
    separator,
  );
}

function wrapLine(line: string, width: number, breaksWords: boolean): string[] {
  // Words and the spaces between them, as in Python's textwrap.
  const chunks = line.split(/([\t\n\v\f\r ]+)/).filter((chunk) => chunk !== '');
  const lines: string[] = [];
  chunks.reverse();
  while (chunks.length > 0) {
    countSteps(1);
    const current: string[] = [];
    let size = 0;
    if (lines.length > 0 && chunks.at(-1)?.trim() === '') chunks.pop();
    while (chunks.length > 0 && !isLonger(chunks.at(-1), width - size)) {
      const chunk = chunks.pop() ?? '';
      current.push(chunk);
      size += characterCount(chunk);
    }
    if (chunks.length > 0 && isLonger(chunks.at(-1), width)) {
      const chunk = chunks.pop() ?? '';
      if (breaksWords) {
        const end = endOf(chunk, Math.max(1, width - size));
        current.push(chunk.slice(0, end));
        chunks.push(chunk.slice(end));
      } else if (current.length === 0) current.push(chunk);
      else chunks.push(chunk);
    }
    if (current.at(-1)?.trim() === '') current.pop();
    if (current.length > 0) lines.push(current.join(''));
  }
  return lines;
}

/** Returns whether a text has more characters than `width`, without a look at the rest of the text. */
const isLonger = (chunk = '', width: number): boolean => endOf(chunk, width) < chunk.length;

/** Returns the end of the first `count` characters in UTF-16 units. */
function endOf(text: string, count: number): number {
  let end = 0;
  for (let left = count; left > 0 && end < text.length; left--) end += (text.codePointAt(end) ?? 0) > 0xffff ? 2 : 1;
  countRead(end);
  return end;
}
