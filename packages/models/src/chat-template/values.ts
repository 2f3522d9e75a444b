import { pythonFloat } from '@whetstone/core/util';
import { charactersOf, joinedTexts } from './bounded-text.js';
import { countDigits, countItems, countRead, countSteps } from './bounds.js';

/** Positional and keyword arguments of a call. */
export interface Arguments {
  readonly positional: readonly Value[];
  readonly keywords: ReadonlyMap<string, Value>;
}

export type Native = (args: Arguments) => Value;

/** `safe`: the text is HTML (Markup of Jinja), which the filter `escape` leaves unchanged. */
export interface TextValue {
  readonly type: 'str';
  readonly value: string;
  readonly safe?: true;
}
/** A bigint if a JavaScript number cannot represent the integer. */
export interface IntegerValue {
  readonly type: 'int';
  readonly value: number | bigint;
}
/** `written`: the digits of a decimal, which print instead of the number. */
export interface FloatValue {
  readonly type: 'float';
  readonly value: number;
  readonly written?: string;
}
export interface BooleanValue {
  readonly type: 'bool';
  readonly value: boolean;
}
/** An undefined value; `hint` is the message of the error that its use throws. */
export interface MissingValue {
  readonly type: 'undefined';
  readonly value: undefined;
  readonly hint: string;
}
/**
 * A list, tuple, range, view of a dict, or generator. A generator can be iterated over once; `value` holds the items
 * that `source` has returned so far.
 */
export interface SequenceValue {
  readonly type: 'list' | 'tuple' | 'range' | 'view' | 'generator';
  readonly value: readonly Value[];
  /** The name of a view or generator, and the text of a range. */
  readonly label?: string;
  /** The first item and the distance of the items of a range. */
  readonly first?: number;
  readonly step?: number;
  /** Named fields of a tuple. */
  readonly fields?: readonly string[];
  readonly source?: Iterator<Value>;
}
/** A dict; its keys are those of {@link keyOf}. `others` holds the keys that are not texts. */
export interface DictValue {
  readonly type: 'dict';
  readonly value: ReadonlyMap<string, Value>;
  readonly others?: ReadonlyMap<string, Value>;
}
interface NamespaceValue {
  readonly type: 'namespace';
  readonly value: Map<string, Value>;
}
/** A macro, method or other function. */
export interface FunctionValue {
  readonly type: 'function';
  readonly value: Native;
  readonly label: string;
  readonly attributes?: ReadonlyMap<string, Value>;
}
/** An object of Jinja: `loop`, `self`, a cycler, a joiner. */
interface ObjectValue {
  readonly type: 'object';
  readonly value: null;
  readonly label: string;
  readonly attribute: (name: string) => Value | undefined;
  readonly call?: Native;
  readonly text?: () => string;
}
export type Value =
  | TextValue
  | IntegerValue
  | FloatValue
  | BooleanValue
  | { readonly type: 'none'; readonly value: null }
  | MissingValue
  | SequenceValue
  | DictValue
  | NamespaceValue
  | FunctionValue
  | ObjectValue;

export const text = (value: string): TextValue => ({ type: 'str', value });
export const safeText = (value: string): TextValue => ({ type: 'str', value, safe: true });
export const integer = (value: number | bigint): IntegerValue =>
  typeof value === 'bigint'
    ? { type: 'int', value: Number.isSafeInteger(Number(value)) ? Number(value) : value }
    : { type: 'int', value: Number.isSafeInteger(value) ? value : BigInt(value) };
export const float = (value: number): FloatValue => ({ type: 'float', value });
const TRUE: BooleanValue = { type: 'bool', value: true };
const FALSE: BooleanValue = { type: 'bool', value: false };
export const flag = (value: boolean): BooleanValue => (value ? TRUE : FALSE);
export const list = (value: readonly Value[]): SequenceValue => ({ type: 'list', value });
export const tuple = (value: readonly Value[]): SequenceValue => ({ type: 'tuple', value });
/** Creates a range. */
export function rangeValue(first: number, stop: number, step: number): SequenceValue {
  const length = Math.max(0, Math.ceil((stop - first) / step));
  countSteps(length);
  return {
    type: 'range',
    value: Array.from({ length }, (_, i) => integer(first + i * step)),
    label: `range(${first}, ${stop}${step === 1 ? '' : `, ${step}`})`,
    first,
    step,
  };
}
export const view = (label: string, value: readonly Value[]): SequenceValue => ({ type: 'view', value, label });
export const generator = (label: string, items: Iterable<Value>): SequenceValue => ({
  type: 'generator',
  value: [],
  label,
  source: items[Symbol.iterator](),
});
export const mapping = (value: ReadonlyMap<string, Value>): DictValue => ({ type: 'dict', value });
export const callable = (label: string, value: Native): FunctionValue => ({ type: 'function', value, label });
export const none: Value = { type: 'none', value: null };
export const undefinedValue = (hint: string): MissingValue => ({ type: 'undefined', value: undefined, hint });
export const missing: Value = undefinedValue('the value is undefined');

export const isText = (value: Value): value is TextValue => value.type === 'str';
export const isList = (value: Value): value is SequenceValue =>
  value.type === 'list' ||
  value.type === 'tuple' ||
  value.type === 'range' ||
  value.type === 'view' ||
  value.type === 'generator';
/** A sequence that can be indexed. */
export const isIndexed = (value: Value): value is SequenceValue =>
  value.type === 'list' || value.type === 'tuple' || value.type === 'range';
export const isMapping = (value: Value): value is DictValue => value.type === 'dict';
export const isNumber = (value: Value): value is IntegerValue | FloatValue | BooleanValue =>
  value.type === 'int' || value.type === 'float' || value.type === 'bool';
export const isMissing = (value: Value): value is MissingValue => value.type === 'undefined';
export const isNone = (value: Value): boolean => value.type === 'none';

/** Returns the exact integer of an int or bool. */
export const bigintOf = (value: IntegerValue | BooleanValue): bigint => BigInt(value.value);

/** Implements Python's `bool()`. */
export function truth(value: Value): boolean {
  switch (value.type) {
    case 'str':
      return value.value !== '';
    case 'int':
    case 'float':
      return value.value !== 0 && value.value !== 0n;
    case 'bool':
      return value.value;
    case 'none':
    case 'undefined':
      return false;
    case 'list':
    case 'tuple':
    case 'range':
    case 'view':
      return value.value.length > 0;
    case 'dict':
      return value.value.size > 0;
    default:
      return true;
  }
}

/** Returns the key under which a dict stores a value. Equal values have equal keys. @throws if it is not hashable. */
export function keyOf(value: Value): string {
  switch (value.type) {
    case 'str':
      countRead(value.value.length);
      return value.value;
    case 'int':
    case 'float':
    case 'bool':
      return `\0${String(typeof value.value === 'boolean' ? Number(value.value) : value.value)}`;
    case 'none':
    case 'undefined':
      return `\0${value.type}`;
    case 'tuple':
      countSteps(value.value.length);
      return `\0(${joinedTexts(
        value.value.map((item) => JSON.stringify(keyOf(item))),
        ',',
      )})`;
    default:
      throw new Error(`unhashable type: '${typeName(value)}'`);
  }
}

/** Creates a dict from pairs; a later pair replaces an earlier one with an equal key. */
export function dictionary(pairs: Iterable<readonly [Value, Value]>): DictValue {
  const value = new Map<string, Value>();
  const others = new Map<string, Value>();
  for (const [key, item] of pairs) {
    countSteps(1);
    const name = keyOf(key);
    if (key.type !== 'str' && !value.has(name)) others.set(name, key);
    value.set(name, item);
  }
  return others.size === 0 ? { type: 'dict', value } : { type: 'dict', value, others };
}

/** Returns the keys of a dict in order. */
export function keysOf({ value, others }: DictValue): Value[] {
  countSteps(value.size);
  return Array.from(value.keys(), (key) => others?.get(key) ?? text(key));
}

export function pairsOf({ value, others }: DictValue): (readonly [Value, Value])[] {
  countSteps(value.size);
  return Array.from(value, ([key, item]) => [others?.get(key) ?? text(key), item] as const);
}

const TYPE_NAMES: Readonly<Record<Value['type'], string>> = {
  str: 'str',
  int: 'int',
  float: 'float',
  bool: 'bool',
  none: 'NoneType',
  undefined: 'Undefined',
  list: 'list',
  tuple: 'tuple',
  range: 'range',
  view: 'dict view',
  generator: 'generator',
  dict: 'dict',
  namespace: 'Namespace',
  function: 'function',
  object: 'object',
};

/** Returns Python's name of the type of a value, for error messages. */
export const typeName = (value: Value): string =>
  value.type === 'view' || value.type === 'object' ? (value.label ?? 'object') : TYPE_NAMES[value.type];

/** Implements Python's `str()`: a text itself, otherwise {@link representation}. */
export function printed(value: Value): string {
  if (value.type === 'str') return value.value;
  return value.type === 'undefined' ? '' : representation(value);
}

/** Implements Python's `repr()`. Throws for values whose text contains an address, which differs in every run. */
export function representation(value: Value): string {
  countSteps(1);
  switch (value.type) {
    case 'str':
      return value.safe === true ? `Markup(${quoted(value.value)})` : quoted(value.value);
    case 'int':
      if (typeof value.value === 'bigint') countDigits(bitsOf(value.value));
      return String(value.value);
    case 'float':
      return value.written ?? pythonFloat(value.value);
    case 'bool':
      return value.value ? 'True' : 'False';
    case 'none':
      return 'None';
    case 'undefined':
      return 'Undefined';
    case 'list':
      return `[${representations(value.value)}]`;
    case 'tuple':
      return `(${representations(value.value)}${value.value.length === 1 ? ',' : ''})`;
    case 'range':
      return value.label ?? '';
    case 'view':
      return `${value.label}([${representations(value.value)}])`;
    case 'dict':
      return `{${joinedTexts(
        pairsOf(value).map(([key, item]) => `${representation(key)}: ${representation(item)}`),
        ', ',
      )}}`;
    case 'namespace': {
      const members = Array.from(value.value, ([key, item]) => `${quoted(key)}: ${representation(item)}`);
      return `<Namespace {${joinedTexts(members, ', ')}}>`;
    }
    case 'object':
      if (value.text) return value.text();
      break;
    case 'function':
      if (value.attributes) return value.label === '' ? '<Macro anonymous>' : `<Macro ${quoted(value.label)}>`;
      break;
    default:
  }
  throw new Error(`a ${typeName(value)} object cannot be printed: apply the filter "list", or call it`);
}

const representations = (items: readonly Value[]): string => joinedTexts(items.map(representation), ', ');

/** Returns the number of bits of an integer, rounded up to a multiple of four. */
export function bitsOf(value: bigint): number {
  return value.toString(16).length * 4;
}

const escapes: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

const NEEDS_ESCAPE = /['\\\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;

/** Implements Python's `repr` of a text. */
export function quoted(string: string): string {
  countRead(string.length);
  const quote = string.includes("'") && !string.includes('"') ? '"' : "'";
  if (!NEEDS_ESCAPE.test(string)) return `'${string}'`;
  countRead(8 * string.length);
  const body = charactersOf(string).map((character) => {
    if (character === quote) return `\\${character}`;
    const escape = Object.hasOwn(escapes, character) ? escapes[character] : undefined;
    if (escape !== undefined) return escape;
    if (!/[\p{C}\p{Zl}\p{Zp}\p{Zs}]/u.test(character) || character === ' ') return character;
    const point = character.codePointAt(0) ?? 0;
    return point < 0x100
      ? `\\x${point.toString(16).padStart(2, '0')}`
      : point < 0x10000
        ? `\\u${point.toString(16).padStart(4, '0')}`
        : `\\U${point.toString(16).padStart(8, '0')}`;
  });
  return quote + joinedTexts(body) + quote;
}

/** Compares two numbers exactly: negative, 0, positive, or NaN. */
export function compareNumbers(left: IntegerValue | FloatValue | BooleanValue, right: typeof left): number {
  const [a, b] = [left.value, right.value];
  if (typeof a === 'bigint' || typeof b === 'bigint') {
    // JavaScript compares a bigint and a number exactly.
    return a < b ? -1 : a > b ? 1 : Number.isNaN(Number(a)) || Number.isNaN(Number(b)) ? NaN : 0;
  }
  return (
    Number(a) - Number(b) ||
    (Number(a) === Number(b) ? 0 : Number(a) > Number(b) ? 1 : Number(a) < Number(b) ? -1 : NaN)
  );
}

/** Implements Python's `==`: compares by content; numbers and booleans are comparable, other types are not. */
export function equals(left: Value, right: Value): boolean {
  if (isNumber(left) && isNumber(right)) return compareNumbers(left, right) === 0;
  if (left.type !== right.type) return false;
  switch (left.type) {
    case 'str':
      if (left.value.length !== (right as TextValue).value.length) return false;
      countRead(left.value.length);
      return left.value === right.value;
    case 'none':
    case 'undefined':
      return true;
    case 'list':
    case 'tuple':
    case 'range':
      return (
        isList(right) &&
        left.value.length === right.value.length &&
        left.value.every((item, i) => {
          countSteps(1);
          return equals(item, right.value[i] ?? missing);
        })
      );
    case 'view':
      return left === right || (left.label !== 'dict_values' && sameSets(left, right as SequenceValue));
    case 'dict':
      return (
        isMapping(right) &&
        left.value.size === right.value.size &&
        [...left.value].every(([key, item]) => {
          countSteps(1);
          const other = right.value.get(key);
          return other !== undefined && equals(item, other);
        })
      );
    default:
      return left === right;
  }
}

/** Compares the keys or items of two dicts, whose order does not count. */
const sameSets = (left: SequenceValue, right: SequenceValue): boolean =>
  right.label !== 'dict_values' &&
  left.value.length === right.value.length &&
  left.value.every((item) =>
    right.value.some((other) => {
      countSteps(1);
      return equals(item, other);
    }),
  );

/** Throws if a value is undefined. */
export function required(value: Value): Value {
  if (isMissing(value)) throw new Error(value.hint);
  return value;
}

/** Returns the items that a `for` loop or a filter iterates over: characters of a text, keys of a dict. */
export function iterate(value: Value): readonly Value[] {
  switch (value.type) {
    case 'generator':
      return [...items(value)];
    case 'list':
    case 'tuple':
    case 'range':
    case 'view':
      countItems(value.value.length);
      return value.value;
    case 'str':
      countSteps(value.value.length);
      return Array.from(value.value, text);
    case 'dict':
      return keysOf(value);
    case 'undefined':
      return [];
    default:
      throw new Error(`'${typeName(value)}' object is not iterable`);
  }
}

/** Yields the items of a value one after another; those of a generator are computed when they are needed. */
export function* items(value: Value): Generator<Value> {
  if (value.type !== 'generator' || value.source === undefined) {
    yield* iterate(value);
    return;
  }
  const produced = value.value as Value[];
  for (let next = value.source.next(); next.done !== true; next = value.source.next()) {
    countSteps(1);
    produced.push(next.value);
    yield next.value;
  }
}
