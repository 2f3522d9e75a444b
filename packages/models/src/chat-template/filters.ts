import { toJson, type JsonOptions } from './json.js';
import type { Value } from './library.js';
import { strip, textMethods, type Arguments } from './text-methods.js';
import {
  equals,
  flag,
  float,
  integer,
  isList,
  isMapping,
  isMissing,
  isNone,
  isNumber,
  isText,
  list,
  mapping,
  missing,
  printed,
  representation,
  text,
  tuple,
  typeName,
} from './values.js';

type Filter = (operand: Value, args: Arguments) => Value;

/** Returns the items that a `for` loop or a filter iterates over: characters of a text, keys of a mapping. */
export function iterate(value: Value): readonly Value[] {
  if (isList(value)) return value.value;
  if (isText(value)) return Array.from(value.value, text);
  if (isMapping(value)) return [...value.value.keys()].map(text);
  if (isMissing(value)) return [];
  throw new Error(`'${typeName(value)}' object is not iterable`);
}

const given = ({ positional, keywords }: Arguments, index: number, name: string): Value | undefined =>
  positional[index] ?? keywords.get(name);
const truth = (value: Value | undefined): boolean => value !== undefined && value.__bool__().value;

/** Returns an attribute by its dotted path, for `map(attribute=…)` and `sort(attribute=…)`. */
function attribute(item: Value, path: Value): Value {
  return printed(path)
    .split('.')
    .reduce((value, key) => {
      if (isMapping(value)) return value.value.get(key) ?? missing;
      if (isList(value) && /^\d+$/.test(key)) return value.value[Number(key)] ?? missing;
      return missing;
    }, item);
}

/** Jinja's tests by name, for `is` and filters such as `selectattr('role', 'equalto', 'user')`. */
export const tests: Readonly<Record<string, (value: Value, other: Value) => boolean>> = {
  defined: (value) => !isMissing(value),
  undefined: (value) => isMissing(value),
  none: (value) => isNone(value),
  string: (value) => isText(value),
  mapping: (value) => isMapping(value),
  sequence: (value) => isList(value) || isMapping(value) || isText(value),
  iterable: (value) => isList(value) || isMapping(value) || isText(value) || isMissing(value),
  number: (value) => isNumber(value) || value.type === 'BooleanValue',
  integer: (value) => value.type === 'IntegerValue',
  float: (value) => value.type === 'FloatValue',
  boolean: (value) => value.type === 'BooleanValue',
  true: (value) => value.type === 'BooleanValue' && value.value === true,
  false: (value) => value.type === 'BooleanValue' && value.value === false,
  equalto: equals,
  eq: equals,
  '==': equals,
  sameas: equals,
  ne: (value, other) => !equals(value, other),
  '!=': (value, other) => !equals(value, other),
  in: (value, other) => contains(other, value),
  odd: (value) => Math.abs(integerOf(value) % 2) === 1,
  even: (value) => integerOf(value) % 2 === 0,
  divisibleby: (value, other) => integerOf(value) % integerOf(other) === 0,
  lower: (value) => printed(value) === printed(value).toLowerCase(),
  upper: (value) => printed(value) === printed(value).toUpperCase(),
};

function integerOf(value: Value): number {
  if (value.type !== 'IntegerValue' && value.type !== 'BooleanValue')
    throw new Error(`an integer is required, not '${typeName(value)}'`);
  return Number(value.value);
}

/** Implements Python's `in`. */
export function contains(container: Value, item: Value): boolean {
  if (isMissing(container)) return false;
  if (isText(container)) {
    if (!isText(item)) throw new Error(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    return container.value.includes(item.value);
  }
  if (isMapping(container)) return isText(item) && container.value.has(item.value);
  if (isList(container)) return container.value.some((candidate) => equals(candidate, item));
  throw new Error(`argument of type '${typeName(container)}' is not iterable`);
}

/** Creates a filter that keeps or removes the items that pass a test; with `byAttribute`, it tests an attribute. */
function selecting(keep: boolean, byAttribute: boolean): Filter {
  return (operand, { positional }) => {
    const [path, name, other] = byAttribute ? positional : [undefined, ...positional];
    const test = name === undefined ? truth : tests[printed(name)];
    if (test === undefined) throw new Error(`no test named '${printed(name ?? missing)}'`);
    return list(
      iterate(operand).filter(
        (item) => test(path === undefined ? item : attribute(item, path), other ?? missing) === keep,
      ),
    );
  };
}

function compare(a: Value, b: Value, caseSensitive: boolean): number {
  if (isText(a) && isText(b)) {
    const [left, right] = caseSensitive ? [a.value, b.value] : [a.value.toLowerCase(), b.value.toLowerCase()];
    return left < right ? -1 : left > right ? 1 : 0;
  }
  const [left, right] = [Number(a.value), Number(b.value)];
  if (Number.isNaN(left) || Number.isNaN(right) || isText(a) || isText(b))
    throw new Error(`'<' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
  return left - right;
}

function length(operand: Value): number {
  if (isText(operand)) return Array.from(operand.value).length;
  if (isMapping(operand)) return operand.value.size;
  if (isList(operand)) return operand.value.length;
  if (isMissing(operand)) return 0;
  throw new Error(`object of type '${typeName(operand)}' has no len()`);
}

function jsonOptions(args: Arguments): JsonOptions {
  const indent = given(args, 1, 'indent') ?? missing;
  const separators = args.keywords.get('separators');
  const pair = separators !== undefined && isList(separators) ? separators.value.map(printed) : null;
  return {
    indent: isNumber(indent)
      ? ' '.repeat(Math.max(0, Math.min(indent.value, 64)))
      : isText(indent)
        ? indent.value
        : null,
    ensureAscii: truth(given(args, 0, 'ensure_ascii')),
    sortKeys: truth(args.keywords.get('sort_keys')),
    separators: pair === null ? null : [pair[0] ?? ', ', pair[1] ?? ': '],
  };
}

const numeric = (operand: Value, args: Arguments, asInteger: boolean): Value => {
  const number =
    isNumber(operand) || operand.type === 'BooleanValue'
      ? Number(operand.value)
      : isText(operand) && /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i.test(operand.value)
        ? Number(operand.value)
        : NaN;
  if (Number.isNaN(number)) return given(args, 0, 'default') ?? (asInteger ? integer(0) : float(0));
  return asInteger ? integer(Math.trunc(number)) : float(number);
};

const method =
  (name: string): Filter =>
  (operand, args) =>
    (textMethods[name] ?? (() => missing))(printed(operand), args);

/** Jinja's filters that chat templates use; the library applies all others. */
export const filters: Readonly<Record<string, Filter>> = {
  trim: (operand, args) => {
    const characters = given(args, 0, 'chars');
    return text(strip(printed(operand), characters === undefined || isNone(characters) ? null : printed(characters)));
  },
  string: (operand) => (isText(operand) ? operand : text(printed(operand))),
  length: (operand) => integer(length(operand)),
  count: (operand) => integer(length(operand)),
  list: (operand) => list(iterate(operand)),
  items: (operand) => {
    if (isMissing(operand)) return list([]);
    if (!isMapping(operand)) throw new Error('Can only get item pairs from a mapping.');
    return list([...operand.value].map(([key, value]) => tuple([text(key), value])));
  },
  first: (operand) => iterate(operand)[0] ?? missing,
  last: (operand) => iterate(operand).at(-1) ?? missing,
  reverse: (operand) =>
    isText(operand) ? text(Array.from(operand.value).reverse().join('')) : list([...iterate(operand)].reverse()),
  unique: (operand) =>
    list(iterate(operand).filter((item, at, all) => all.findIndex((other) => equals(other, item)) === at)),
  sort: (operand, args) => {
    const path = given(args, 2, 'attribute');
    const key = (item: Value): Value => (path === undefined || isNone(path) ? item : attribute(item, path));
    const sorted = [...iterate(operand)].sort((a, b) =>
      compare(key(a), key(b), truth(given(args, 1, 'case_sensitive'))),
    );
    return list(truth(given(args, 0, 'reverse')) ? sorted.reverse() : sorted);
  },
  dictsort: (operand, args) => {
    if (!isMapping(operand)) throw new Error('dictsort requires a mapping');
    const by = printed(given(args, 1, 'by') ?? text('key')) === 'value' ? 1 : 0;
    const pairs = [...operand.value]
      .map(([key, value]) => [text(key), value] as const)
      .sort((a, b) => compare(a[by], b[by], truth(given(args, 0, 'case_sensitive'))));
    return list((truth(given(args, 2, 'reverse')) ? pairs.reverse() : pairs).map(tuple));
  },
  join: (operand, args) => {
    const path = given(args, 1, 'attribute');
    return text(
      iterate(operand)
        .map((item) => printed(path === undefined ? item : attribute(item, path)))
        .join(printed(given(args, 0, 'd') ?? text(''))),
    );
  },
  map: (operand, args) => {
    const path = args.keywords.get('attribute');
    const fallback = args.keywords.get('default');
    if (path !== undefined)
      return list(
        iterate(operand).map((item) => {
          const value = attribute(item, path);
          return isMissing(value) && fallback !== undefined ? fallback : value;
        }),
      );
    const [name, ...positional] = args.positional;
    const filter = filters[name === undefined ? '' : printed(name)];
    if (filter === undefined) throw new Error(`No filter named '${printed(name ?? missing)}'.`);
    return list(iterate(operand).map((item) => filter(item, { positional, keywords: args.keywords })));
  },
  select: selecting(true, false),
  reject: selecting(false, false),
  selectattr: selecting(true, true),
  rejectattr: selecting(false, true),
  default: (operand, args) =>
    isMissing(operand) || (truth(given(args, 1, 'boolean')) && !operand.__bool__().value)
      ? (given(args, 0, 'default_value') ?? text(''))
      : operand,
  d: (operand, args) => (filters['default'] ?? (() => operand))(operand, args),
  tojson: (operand, args) => text(toJson(operand, jsonOptions(args))),
  int: (operand, args) => numeric(operand, args, true),
  float: (operand, args) => numeric(operand, args, false),
  abs: (operand) => (operand.type === 'FloatValue' ? float : integer)(Math.abs(Number(operand.value))),
  safe: (operand) => operand,
  upper: method('upper'),
  lower: method('lower'),
  title: method('title'),
  capitalize: method('capitalize'),
  replace: method('replace'),
  escape: (operand) =>
    text(
      printed(operand)
        .replaceAll('&', '&amp;')
        .replaceAll('<', '&lt;')
        .replaceAll('>', '&gt;')
        .replaceAll('"', '&#34;')
        .replaceAll("'", '&#39;'),
    ),
  e: (operand, args) => (filters['escape'] ?? (() => operand))(operand, args),
  indent: (operand, args) => {
    const width = given(args, 0, 'width') ?? integer(4);
    const margin = isNumber(width) ? ' '.repeat(Math.max(0, Math.min(width.value, 1000))) : printed(width);
    const [first, blank] = [truth(given(args, 1, 'first')), truth(given(args, 2, 'blank'))];
    return text(
      printed(operand)
        .split('\n')
        .map((line, at) => ((at === 0 && !first) || (line === '' && !blank && at > 0) ? line : margin + line))
        .join('\n'),
    );
  },
  sum: (operand) => integer(iterate(operand).reduce((sum, item) => sum + Number(item.value), 0)),
  max: (operand) => [...iterate(operand)].sort((a, b) => compare(b, a, false))[0] ?? missing,
  min: (operand) => [...iterate(operand)].sort((a, b) => compare(a, b, false))[0] ?? missing,
  pprint: (operand) => text(representation(operand)),
  groupby: (operand, args) => {
    const path = given(args, 0, 'attribute') ?? text('');
    const groups = new Map<string, Value[]>();
    for (const item of iterate(operand)) {
      const key = printed(attribute(item, path));
      groups.set(key, [...(groups.get(key) ?? []), item]);
    }
    return list(
      [...groups]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, items]) =>
          mapping(
            new Map([
              ['grouper', text(key)],
              ['list', list(items)],
            ]),
          ),
        ),
    );
  },
  bool: (operand) => flag(operand.__bool__().value),
};
