/** Jinja's filters: `value | name(…)`. */
import { bind, integerOf, type Bound } from './arguments.js';
import { characterCount, charactersOf, joinedTexts, repeated } from './bounded-text.js';
import { countDigits, countItems, countSteps, countText, exceeded, MAX_BITS } from './bounds.js';
import { percentFormat } from './format.js';
import { toJson } from './json.js';
import { attributeOf, byPath, countTexts } from './members.js';
import { roundFloat, roundInteger } from './numbers.js';
import { escapeHtml } from './html.js';
import { arithmetic, order } from './operators.js';
import { tests } from './tests.js';
import { capitalize, centered, linesOfText, replaceText, strip } from './text-methods.js';
import { fileSize, pretty, stripTags, truncated, urlEncoded, wrapped, xmlAttributes } from './text-filters.js';
import {
  bigintOf,
  dictionary,
  equals,
  float,
  generator,
  integer,
  isList,
  isMapping,
  isMissing,
  isNone,
  isNumber,
  isText,
  items,
  iterate,
  keyOf,
  list,
  missing,
  none,
  pairsOf,
  printed,
  representation,
  required,
  safeText,
  text,
  truth,
  tuple,
  typeName,
  undefinedValue,
  type Arguments,
  type SequenceValue,
  type Value,
} from './values.js';

type Filter = (operand: Value, args: Arguments) => Value;

const noArguments: Arguments = { positional: [], keywords: new Map() };

/** Applies a filter by its name. @throws an error if there is none */
export function callFilter(name: string, operand: Value, args: Arguments): Value {
  if (name === 'random')
    throw new Error("the filter 'random' is not supported: a template must render equally every time");
  if (name === 'urlize') throw new Error("the filter 'urlize' is not supported in chat templates");
  const filter = Object.hasOwn(filters, name) ? filters[name] : undefined;
  if (filter === undefined) throw new Error(`No filter named '${name}'.`);
  countTexts(operand, args);
  const result = filter(operand, args);
  if (isText(result) && result !== operand) countText(result.value.length);
  return result;
}

/** Applies a test by its name. @throws an error if there is none */
export function callTest(name: string, operand: Value, args: Arguments): boolean {
  if (name === 'filter' || name === 'test') {
    bind(name, args);
    if (operand.type === 'list' || operand.type === 'dict' || operand.type === 'view') keyOf(operand);
    return isText(operand) && (name === 'filter' ? isFilter : isTest)(operand.value);
  }
  const test = Object.hasOwn(tests, name) ? tests[name] : undefined;
  if (test === undefined) throw new Error(`No test named '${name}'.`);
  countTexts(operand, args);
  return test(operand, args);
}

const isFilter = (name: string): boolean => Object.hasOwn(filters, name) || name === 'random' || name === 'urlize';
const isTest = (name: string): boolean => Object.hasOwn(tests, name) || name === 'filter' || name === 'test';

/** Creates a filter without arguments. */
const simple =
  (label: string, apply: (operand: Value) => Value): Filter =>
  (operand, args) => {
    bind(label, args);
    return apply(operand);
  };

/** Keeps the mark of HTML text, as Jinja's `soft_str` does. */
const soft = (operand: Value, change: (plain: string) => string): Value =>
  isText(operand) && operand.safe === true ? safeText(change(operand.value)) : text(change(printed(operand)));

const lowerCase = (value: Value): Value => (isText(value) ? text(value.value.toLowerCase()) : value);

/** Returns the value by which items are compared: their attribute or themselves, without case by default. */
function keyFunction(bound: Bound, byDefault?: Value): (item: Value) => Value {
  const path = bound.get('attribute');
  const fold = bound.isTrue('case_sensitive') ? (value: Value): Value => value : lowerCase;
  return path === undefined || isNone(path) ? fold : (item) => fold(byPath(item, path, byDefault));
}

/** Like {@link keyFunction}, for several attributes separated by commas: the values are compared as lists. */
function sortKey(bound: Bound): (item: Value) => Value {
  const path = bound.get('attribute');
  const fold = bound.isTrue('case_sensitive') ? (value: Value): Value => value : lowerCase;
  if (path === undefined || isNone(path)) return (item) => list([fold(item)]);
  const paths = isText(path) ? path.value.split(',').map(text) : [path];
  return (item) => list(paths.map((one) => fold(byPath(item, one))));
}

function sorted(items: readonly Value[], key: (item: Value) => Value, reverse: boolean): Value[] {
  countSteps(items.length);
  countItems(8 * items.length * Math.ceil(Math.log2(items.length + 1)));
  const keyed = items.map((item) => [key(item), item] as const);
  // Items with equal keys keep their order in either direction, as in Python.
  keyed.sort(([a], [b]) => order(reverse ? b : a, reverse ? a : b));
  return keyed.map(([, item]) => item);
}

/** Creates a filter that keeps or removes the items that pass a test; with `byAttribute`, it tests an attribute. */
const selecting =
  (keep: boolean, byAttribute: boolean): Filter =>
  (operand, args) =>
    generator('generator', selected(operand, args, keep, byAttribute));

function* selected(operand: Value, args: Arguments, keep: boolean, byAttribute: boolean): Generator<Value> {
  // A false value need not be iterable.
  if (!truth(operand)) return;
  const { positional, keywords } = args;
  const path = byAttribute ? positional[0] : undefined;
  const [name, ...others] = byAttribute ? positional.slice(1) : positional;
  if (byAttribute && path === undefined) throw new Error('Missing parameter for attribute name');
  for (const item of items(operand)) {
    countItems(8);
    const tested = path === undefined ? item : byPath(item, path);
    const passes =
      name === undefined ? truth(tested) : callTest(printed(name), tested, { positional: others, keywords });
    if (passes === keep) yield item;
  }
}

function* mapped(operand: Value, args: Arguments): Generator<Value> {
  if (!truth(operand)) return;
  const { positional, keywords } = args;
  const path = keywords.get('attribute');
  if (positional.length === 0 && path !== undefined) {
    const byDefault = bind('map', args, 'attribute', 'default').get('default');
    for (const item of items(operand)) yield byPath(item, path, byDefault);
    return;
  }
  const [name, ...others] = positional;
  if (name === undefined) throw new Error('map requires a filter argument');
  for (const item of items(operand)) yield callFilter(printed(name), item, { positional: others, keywords });
}

/** Implements Python's `len()`. */
function length(operand: Value): number {
  if (isText(operand)) return characterCount(operand.value);
  if (isMapping(operand)) return operand.value.size;
  if (isList(operand) && operand.type !== 'generator') return operand.value.length;
  if (isMissing(operand)) return 0;
  throw new Error(`object of type '${typeName(operand)}' has no len()`);
}

function tojson(operand: Value, args: Arguments): Value {
  const bound = bind('tojson', args, 'ensure_ascii', 'indent', 'separators', 'sort_keys');
  const indent = bound.get('indent') ?? none;
  const separators = bound.get('separators') ?? none;
  const pair = isList(separators) ? separators.value.map(printed) : null;
  if (pair !== null && pair.length !== 2) throw new Error('separators must be a pair of texts');
  return text(
    toJson(operand, {
      indent: isText(indent) ? indent.value : isNone(indent) ? null : ' '.repeat(widthOf(indent)),
      ensureAscii: bound.isTrue('ensure_ascii'),
      sortKeys: bound.isTrue('sort_keys'),
      separators: pair === null ? null : [pair[0] ?? '', pair[1] ?? ''],
    }),
  );
}

/** Returns the number of spaces of an indentation. @throws `BoundExceeded` if there are too many */
function widthOf(value: Value): number {
  const width = integerOf(value);
  if (width > MAX_INDENT) exceeded('An indentation of the template is too wide', MAX_INDENT, 'spaces');
  return Math.max(0, width);
}

/** Replaces the decimal digits of all scripts by ASCII digits. Each script has ten consecutive ones. */
const asciiDigits = (written: string): string =>
  written.replace(/(?!\d)\p{Nd}/gu, (digit) => {
    const point = digit.codePointAt(0) ?? 0;
    let start = point;
    while (/\p{Nd}/u.test(String.fromCodePoint(start - 1))) start--;
    return String((point - start) % 10);
  });

const FLOAT_TEXT = /^[+-]?(?:(?:\d+(?:_\d+)*)(?:\.(?:\d+(?:_\d+)*)?)?|\.\d+(?:_\d+)*)(?:e[+-]?\d+(?:_\d+)*)?$/i;

/** Implements Python's `float()` for text; null if it is no number. */
function parseFloatText(written: string): number | null {
  const trimmed = asciiDigits(strip(written, null));
  const special = /^([+-]?)(inf|infinity|nan)$/i.exec(trimmed);
  if (special) return special[2]?.toLowerCase() === 'nan' ? Number.NaN : special[1] === '-' ? -Infinity : Infinity;
  return FLOAT_TEXT.test(trimmed) ? Number(trimmed.replaceAll('_', '')) : null;
}

/** The longest decimal integer that Python reads from text. */
const MAX_INTEGER_DIGITS = 4300;
/** The widest indentation. */
const MAX_INDENT = 1000;

const PREFIXES: Readonly<Record<number, RegExp>> = { 2: /^0b_?/i, 8: /^0o_?/i, 16: /^0x_?/i };

/** Implements Python's `int(text, base)`; null if it is no integer. */
function parseInteger(written: string, base: number): bigint | null {
  const trimmed = asciiDigits(strip(written, null));
  const isNegative = trimmed.startsWith('-');
  let digits = trimmed.replace(/^[+-]/, '').toLowerCase();
  if (base === 0 || base < 2 || base > 36) throw new Error('the base of "int" must be from 2 to 36');
  const prefix = PREFIXES[base];
  if (prefix) digits = digits.replace(prefix, '');
  if (!/^[\da-z]+(?:_[\da-z]+)*$/.test(digits)) return null;
  const isPower = (base & (base - 1)) === 0;
  // Python refuses longer integers, unless their base is a power of two.
  if (!isPower && digits.replaceAll('_', '').length > MAX_INTEGER_DIGITS) return null;
  if (digits.length * Math.log2(base) > MAX_BITS) exceeded('An integer of the template is too large', MAX_BITS, 'bits');
  countDigits(digits.length * Math.log2(base));
  let value = 0n;
  for (const digit of digits.replaceAll('_', '')) {
    const number = parseInt(digit, 36);
    if (number >= base) return null;
    value = value * BigInt(base) + BigInt(number);
  }
  return isNegative ? -value : value;
}

function truncatedInteger(number: number): Value {
  if (Number.isNaN(number)) throw new Error('cannot convert float NaN to integer');
  if (!Number.isFinite(number)) throw new Error('cannot convert float infinity to integer');
  return integer(BigInt(Math.trunc(number)));
}

function toInteger(operand: Value, args: Arguments): Value {
  const bound = bind('int', args, 'value_default', 'base', 'default');
  const byDefault = bound.get('value_default') ?? bound.get('default') ?? integer(0);
  required(operand);
  if (isText(operand)) {
    const whole = parseInteger(operand.value, bound.integer('base', 10));
    if (whole !== null) return integer(whole);
    const number = parseFloatText(operand.value);
    return number === null || !Number.isFinite(number) ? byDefault : truncatedInteger(number);
  }
  if (operand.type === 'float') return Number.isNaN(operand.value) ? byDefault : truncatedInteger(operand.value);
  return isNumber(operand) ? integer(bigintOf(operand)) : byDefault;
}

function toFloat(operand: Value, args: Arguments): Value {
  const byDefault = bind('float', args, 'default').get('default') ?? float(0);
  required(operand);
  if (isNumber(operand)) return float(Number(operand.value));
  const number = isText(operand) ? parseFloatText(operand.value) : null;
  return number === null ? byDefault : float(number);
}

function rounded(operand: Value, args: Arguments): Value {
  const bound = bind('round', args, 'precision', 'method');
  const precision = bound.integer('precision', 0);
  const method = bound.text('method') ?? 'common';
  required(operand);
  if (!['common', 'ceil', 'floor'].includes(method)) throw new Error('method must be common, ceil or floor');
  if (!isNumber(operand)) throw new Error(`type ${typeName(operand)} doesn't define __round__ method`);
  if (method === 'common')
    return operand.type === 'float'
      ? float(roundFloat(operand.value, precision))
      : integer(roundInteger(bigintOf(operand), precision));
  const scale = 10 ** precision;
  const scaled = Number(operand.value) * scale;
  if (!Number.isFinite(scaled)) throw new Error('cannot convert float infinity to integer');
  return float((method === 'ceil' ? Math.ceil(scaled) + 0 : Math.floor(scaled)) / scale);
}

function joined(operand: Value, args: Arguments): Value {
  const bound = bind('join', args, 'd', 'attribute');
  const path = bound.get('attribute');
  const separator = bound.get('d');
  return text(
    joinedTexts(
      iterate(operand).map((item) => printed(path === undefined || isNone(path) ? item : byPath(item, path))),
      separator === undefined ? '' : printed(separator),
    ),
  );
}

function batched(operand: Value, args: Arguments): Value {
  const bound = bind('batch', args, 'linecount', 'fill_with');
  const [size, fill] = [bound.need('linecount'), bound.get('fill_with') ?? none];
  return generator('generator', batches(operand, size, fill));
}

function* batches(operand: Value, linecount: Value, fill: Value): Generator<Value> {
  const all = iterate(operand);
  const size = all.length === 0 ? 1 : integerOf(linecount);
  if (size < 1) throw new Error('the filter "batch" needs a positive number of items');
  for (let at = 0; at < all.length; at += size) {
    const batch = all.slice(at, at + size);
    countSteps(1);
    countItems(isNone(fill) ? batch.length : size);
    while (!isNone(fill) && batch.length < size) batch.push(fill);
    yield list(batch);
  }
}

function slices(operand: Value, args: Arguments): Value {
  const bound = bind('slice', args, 'slices', 'fill_with');
  const [count, fill] = [bound.need('slices'), bound.get('fill_with') ?? none];
  return generator('generator', sliceParts(operand, count, fill));
}

function* sliceParts(operand: Value, slicesValue: Value, fill: Value): Generator<Value> {
  const all = iterate(operand);
  const count = integerOf(slicesValue);
  if (count === 0) throw new Error('integer division or modulo by zero');
  const size = Math.floor(all.length / count);
  const longer = all.length - size * count;
  let at = 0;
  for (let number = 0; number < count; number++) {
    countSteps(1);
    const part = all.slice(at, at + size + (number < longer ? 1 : 0));
    at += part.length;
    if (!isNone(fill) && number >= longer) part.push(fill);
    yield list(part);
  }
}

function indented(operand: Value, args: Arguments): Value {
  const bound = bind('indent', args, 'width', 'first', 'blank');
  const width = bound.get('width') ?? integer(4);
  const margin = isText(width) ? width.value : repeated(' ', widthOf(width));
  if (!isText(required(operand))) throw new Error(`the filter "indent" needs str, not ${typeName(operand)}`);
  return soft(operand, (plain) => {
    const lines = linesOfText(`${plain}\n`);
    const isBlank = bound.isTrue('blank');
    countSteps(lines.length);
    const body = joinedTexts(
      lines.map((line, at) => (at === 0 || (line === '' && !isBlank) ? line : margin + line)),
      '\n',
    );
    return bound.isTrue('first') ? margin + body : body;
  });
}

function replaced(operand: Value, args: Arguments): Value {
  const bound = bind('replace', args, 'old', 'new', 'count');
  const count = bound.integer('count', -1);
  return text(replaceText(printed(operand), printed(bound.need('old')), printed(bound.need('new')), count));
}

const titled = (plain: string): string =>
  plain
    .split(/([-\s({[<]+)/)
    .map((part) => {
      const [first = ''] = part;
      return first.toUpperCase() + part.slice(first.length).toLowerCase();
    })
    .join('');

/** Creates a filter that returns the smallest or largest item. */
const extreme =
  (label: string, sign: number): Filter =>
  (operand, args) => {
    const bound = bind(label, args, 'case_sensitive', 'attribute');
    const key = keyFunction(bound);
    const [first, ...others] = iterate(operand);
    if (first === undefined) return undefinedValue('No aggregated item, sequence was empty.');
    return others.reduce((best, item) => (sign * order(key(item), key(best)) < 0 ? item : best), first);
  };

function grouped(operand: Value, args: Arguments): Value {
  const bound = bind('groupby', args, 'attribute', 'default', 'case_sensitive');
  bound.need('attribute');
  const byDefault = bound.get('default');
  const key = keyFunction(bound, byDefault);
  const groups: { readonly key: Value; readonly items: Value[] }[] = [];
  for (const item of sorted(iterate(operand), key, false)) {
    const group = groups.at(-1);
    if (group && equals(group.key, key(item))) group.items.push(item);
    else groups.push({ key: key(item), items: [item] });
  }
  const path = bound.need('attribute');
  return list(
    groups.map(({ items }): SequenceValue => ({
      type: 'tuple',
      value: [byPath(items[0] ?? missing, path, byDefault), list(items)],
      fields: ['grouper', 'list'],
    })),
  );
}

function dictSorted(operand: Value, args: Arguments): Value {
  const bound = bind('dictsort', args, 'case_sensitive', 'by', 'reverse');
  const by = bound.text('by') ?? 'key';
  if (by !== 'key' && by !== 'value') throw new Error('You can only sort by either "key" or "value"');
  if (!isMapping(operand)) throw new Error(`'${typeName(required(operand))}' object has no attribute 'items'`);
  const at = by === 'value' ? 1 : 0;
  const fold = bound.isTrue('case_sensitive') ? (value: Value): Value => value : lowerCase;
  const key = (pair: Value): Value => fold(isList(pair) ? (pair.value[at] ?? missing) : missing);
  return list(sorted(pairsOf(operand).map(tuple), key, bound.isTrue('reverse')));
}

function* uniqueItems(operand: Value, key: (item: Value) => Value): Generator<Value> {
  const seen = new Set<string>();
  for (const item of items(operand)) {
    const name = keyOf(key(item));
    if (seen.has(name)) continue;
    seen.add(name);
    yield item;
  }
}

function* itemsOf(operand: Value): Generator<Value> {
  if (isMissing(operand)) return;
  if (!isMapping(operand)) throw new Error('Can only get item pairs from a mapping.');
  for (const pair of pairsOf(operand)) yield tuple(pair);
}

function first(operand: Value): Value {
  const [item] = items(operand);
  return item ?? undefinedValue('No first item, sequence was empty.');
}

function last(operand: Value): Value {
  if (operand.type === 'generator') throw new Error("'generator' object is not reversible");
  return iterate(operand).at(-1) ?? undefinedValue('No last item, sequence was empty.');
}

function reversed(operand: Value): Value {
  if (isText(operand)) return { ...operand, value: joinedTexts(charactersOf(operand.value).reverse()) };
  if (operand.type === 'generator') return list([...iterate(operand)].reverse());
  return generator('iterator', [...iterate(operand)].reverse());
}

const fallback: Filter = (operand, args) => {
  const bound = bind('default', args, 'default_value', 'boolean');
  return isMissing(operand) || (bound.isTrue('boolean') && !truth(operand))
    ? (bound.get('default_value') ?? text(''))
    : operand;
};

const escaped = (operand: Value): Value =>
  isText(operand) && operand.safe === true ? operand : safeText(escapeHtml(printed(operand)));

function summed(operand: Value, args: Arguments): Value {
  const bound = bind('sum', args, 'attribute', 'start');
  const path = bound.get('attribute');
  const start = bound.get('start') ?? integer(0);
  if (isText(start)) throw new Error("sum() can't sum strings [use ''.join(seq) instead]");
  const items = iterate(operand).map((item) => (path === undefined || isNone(path) ? item : byPath(item, path)));
  return items.reduce((sum, item) => arithmetic('+', sum, item), start);
}

function absolute(operand: Value): Value {
  required(operand);
  if (operand.type === 'float') return float(Math.abs(operand.value));
  if (!isNumber(operand)) throw new Error(`bad operand type for abs(): '${typeName(operand)}'`);
  const whole = bigintOf(operand);
  return integer(whole < 0n ? -whole : whole);
}

function formatted(operand: Value, { positional, keywords }: Arguments): Value {
  if (positional.length > 0 && keywords.size > 0)
    throw new Error("can't handle positional and keyword arguments at the same time");
  const values =
    keywords.size > 0 ? dictionary([...keywords].map(([key, value]) => [text(key), value])) : tuple(positional);
  return percentFormat(isText(operand) ? operand : text(printed(operand)), values);
}

const count = simple('length', (operand) => integer(length(operand)));

const filters: Readonly<Record<string, Filter>> = {
  abs: simple('abs', absolute),
  attr: (operand, args) => {
    const name = printed(bind('attr', args, 'name').need('name'));
    required(operand);
    return attributeOf(operand, name) ?? undefinedValue(`'${typeName(operand)} object' has no attribute '${name}'`);
  },
  batch: batched,
  capitalize: simple('capitalize', (operand) => soft(operand, capitalize)),
  center: (operand, args) => {
    const width = bind('center', args, 'width').integer('width', 80);
    return soft(operand, (plain) => centered(plain, width));
  },
  count,
  d: fallback,
  default: fallback,
  dictsort: dictSorted,
  e: simple('escape', escaped),
  escape: simple('escape', escaped),
  filesizeformat: (operand, args) => {
    const isBinary = bind('filesizeformat', args, 'binary').isTrue('binary');
    const bytes = toFloat(operand, { ...noArguments, positional: [none] });
    if (bytes.type !== 'float') throw new Error(`could not convert ${representation(operand)} to float`);
    return text(fileSize(bytes.value, isBinary));
  },
  first: simple('first', first),
  float: toFloat,
  forceescape: simple('forceescape', (operand) => safeText(escapeHtml(printed(operand)))),
  format: formatted,
  groupby: grouped,
  indent: indented,
  int: toInteger,
  items: simple('items', (operand) => {
    return generator('generator', itemsOf(operand));
  }),
  join: joined,
  last: simple('last', last),
  length: count,
  list: simple('list', (operand) => list(iterate(operand))),
  lower: simple('lower', (operand) => soft(operand, (plain) => plain.toLowerCase())),
  map: (operand, args) => generator('generator', mapped(operand, args)),
  max: extreme('max', -1),
  min: extreme('min', 1),
  pprint: simple('pprint', (operand) => text(pretty(operand))),
  reject: selecting(false, false),
  rejectattr: selecting(false, true),
  replace: replaced,
  reverse: simple('reverse', reversed),
  round: rounded,
  safe: simple('safe', (operand) => safeText(printed(operand))),
  select: selecting(true, false),
  selectattr: selecting(true, true),
  slice: slices,
  sort: (operand, args) => {
    const bound = bind('sort', args, 'reverse', 'case_sensitive', 'attribute');
    return list(sorted(iterate(operand), sortKey(bound), bound.isTrue('reverse')));
  },
  string: simple('string', (operand) => (isText(operand) ? operand : text(printed(operand)))),
  striptags: simple('striptags', (operand) => text(stripTags(printed(operand)))),
  sum: summed,
  title: simple('title', (operand) => text(titled(printed(operand)))),
  tojson,
  trim: (operand, args) => {
    const characters = bind('trim', args, 'chars').text('chars');
    return soft(operand, (plain) => strip(plain, characters));
  },
  truncate: (operand, args) => truncated(operand, bind('truncate', args, 'length', 'killwords', 'end', 'leeway')),
  unique: (operand, args) => {
    const key = keyFunction(bind('unique', args, 'case_sensitive', 'attribute'));
    return generator('generator', uniqueItems(operand, key));
  },
  upper: simple('upper', (operand) => soft(operand, (plain) => plain.toUpperCase())),
  urlencode: simple('urlencode', (operand) => text(urlEncoded(operand))),
  wordcount: simple('wordcount', (operand) => integer(printed(operand).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0)),
  wordwrap: (operand, args) => {
    const bound = bind('wordwrap', args, 'width', 'break_long_words', 'wrapstring', 'break_on_hyphens');
    if (!isText(required(operand))) throw new Error(`the filter "wordwrap" needs str, not ${typeName(operand)}`);
    return text(wrapped(printed(operand), bound));
  },
  xmlattr: (operand, args) =>
    text(xmlAttributes(operand, bind('xmlattr', args, 'autospace').isTrue('autospace', true))),
};
