import { bind } from './arguments.js';
import { charactersOf, isSimple, joinedTexts } from './bounded-text.js';
import { countItems, countRead, countSteps } from './bounds.js';
import { formatFields } from './format.js';
import { sequenceMethods, textMethods } from './text-methods.js';
import {
  bigintOf,
  callable,
  dictionary,
  integer,
  isIndexed,
  isMapping,
  isMissing,
  isNumber,
  isText,
  iterate,
  keyOf,
  keysOf,
  list,
  missing,
  none,
  pairsOf,
  printed,
  rangeValue,
  quoted,
  safeText,
  text,
  tuple,
  typeName,
  undefinedValue,
  view,
  type Arguments,
  type DictValue,
  type Native,
  type SequenceValue,
  type Value,
} from './values.js';

type DictMethod = (self: DictValue, args: Arguments) => Value;

const dictMethods: Readonly<Record<string, DictMethod>> = {
  items: (self, args) => {
    bind('items', args);
    return view('dict_items', pairsOf(self).map(tuple));
  },
  keys: (self, args) => {
    bind('keys', args);
    return view('dict_keys', keysOf(self));
  },
  values: (self, args) => {
    bind('values', args);
    countSteps(self.value.size);
    return view('dict_values', [...self.value.values()]);
  },
  get: (self, args) => {
    if (args.keywords.size > 0) throw new Error('dict.get() takes no keyword arguments');
    const bound = bind('get', args, 'key', 'default');
    const key = bound.need('key');
    return (isMissing(key) ? undefined : self.value.get(keyOf(key))) ?? bound.get('default') ?? none;
  },
  copy: (self, args) => {
    bind('copy', args);
    return self;
  },
  fromkeys: (_self, args) => fromKeys(args),
};

/** Implements `dict.fromkeys`. */
export function fromKeys(args: Arguments): Value {
  const bound = bind('fromkeys', args, 'iterable', 'value');
  const value = bound.get('value') ?? none;
  return dictionary(iterate(bound.need('iterable')).map((key) => [key, value] as const));
}

/** Methods that change a dict or list; the sandbox of Jinja refuses them. */
const MODIFYING: Readonly<Partial<Record<Value['type'], readonly string[]>>> = {
  dict: ['clear', 'pop', 'popitem', 'setdefault', 'update'],
  list: ['append', 'clear', 'extend', 'insert', 'pop', 'remove', 'reverse', 'sort'],
};
/** Attributes that exist in Python and are not supported here. */
const UNSUPPORTED: Readonly<Partial<Record<Value['type'], readonly string[]>>> = {
  list: ['copy'],
  int: ['as_integer_ratio', 'bit_count', 'bit_length', 'conjugate', 'from_bytes', 'is_integer', 'to_bytes'],
  bool: ['as_integer_ratio', 'bit_count', 'bit_length', 'conjugate', 'from_bytes', 'is_integer', 'to_bytes'],
  float: ['as_integer_ratio', 'conjugate', 'fromhex', 'hex', 'is_integer'],
  view: ['isdisjoint', 'mapping'],
  generator: ['close', 'send', 'throw', 'gi_code', 'gi_frame', 'gi_running', 'gi_suspended', 'gi_yieldfrom'],
};

function method(name: string, native: Native): Value {
  return callable(name, native);
}

/** Returns the attribute of a value that Python defines, such as a method; undefined if there is none. */
export function attributeOf(object: Value, name: string): Value | undefined {
  if (name.startsWith('_') && object.type !== 'namespace' && object.type !== 'dict' && object.type !== 'object')
    return name.startsWith('__') ? unsafe(object, name) : undefined;
  if (MODIFYING[object.type]?.includes(name)) return unsafe(object, name);
  switch (object.type) {
    case 'str':
      if (name === 'format') return method(name, (args) => formatFields(object, args, readMember));
      if (Object.hasOwn(textMethods, name)) return method(name, (args) => callTextMethod(object, name, args));
      break;
    case 'dict':
      if (Object.hasOwn(dictMethods, name)) return method(name, (args) => callDictMethod(object, name, args));
      break;
    case 'list':
    case 'tuple':
    case 'range':
      if (Object.hasOwn(sequenceMethods, name))
        return method(name, (args) => (sequenceMethods[name] as (typeof sequenceMethods)[string])(object.value, args));
      if (object.fields?.includes(name)) return object.value[object.fields.indexOf(name)];
      if (object.type === 'list' && name === 'copy') return method(name, () => list(object.value));
      break;
    case 'int':
    case 'bool':
      if (name === 'real' || name === 'numerator') return integer(bigintOf(object));
      if (name === 'imag') return integer(0);
      if (name === 'denominator') return integer(1);
      break;
    case 'float':
      if (name === 'real') return object;
      if (name === 'imag') return { type: 'float', value: 0 };
      break;
    case 'namespace':
      return object.value.get(name);
    case 'object':
      return object.attribute(name);
    case 'function':
      return object.attributes?.get(name);
    default:
  }
  if (UNSUPPORTED[object.type]?.includes(name))
    throw new Error(`the attribute '${name}' of '${typeName(object)}' is not supported in chat templates`);
  return undefined;
}

/** Marks the texts of a result as HTML, like the text that they come from. */
function marked(result: Value): Value {
  countSteps(1);
  if (isText(result)) return safeText(result.value);
  return result.type === 'list' || result.type === 'tuple' ? { ...result, value: result.value.map(marked) } : result;
}

function callTextMethod(self: Value & { readonly type: 'str' }, name: string, args: Arguments): Value {
  if (self.safe === true && (name === 'join' || name === 'replace'))
    throw new Error(`the method ${name}() of escaped text is not supported; apply it before the filter`);
  countTexts(self, args);
  const result = (textMethods[name] as (typeof textMethods)[string])(self.value, args);
  return self.safe === true ? marked(result) : result;
}

/** Counts the texts that a method or filter reads. */
export function countTexts(self: Value, { positional }: Arguments): void {
  if (isText(self)) countRead(self.value.length);
  for (const value of positional) if (isText(value)) countRead(value.value.length);
}

function callDictMethod(self: DictValue, name: string, args: Arguments): Value {
  return (dictMethods[name] as DictMethod)(self, args);
}

/** An undefined value whose use fails because the sandbox refuses access. */
const unsafe = (object: Value, name: string): Value =>
  undefinedValue(`access to attribute '${name}' of '${typeName(object)}' object is unsafe.`);

/** Returns the item of a value for a key, as `object[key]` does in Python; undefined if there is none. */
function itemOf(object: Value, key: Value): Value | undefined {
  if (isMapping(object)) {
    if (isMissing(key) || key.type === 'list' || key.type === 'dict') return undefined;
    return object.value.get(keyOf(key));
  }
  if (!isNumber(key) || key.type === 'float') return undefined;
  const at = Number(key.value);
  if (isIndexed(object)) return object.value.at(at);
  if (isText(object)) {
    countRead(object.value.length);
    const character = isSimple(object.value) ? object.value.at(at) : charactersOf(object.value).at(at);
    return character === undefined ? undefined : { ...object, value: character };
  }
  return undefined;
}

/** Returns Python's `repr` of the type of a value, as in Jinja's messages about missing attributes. */
const describeType = (object: Value): string =>
  object.type === 'none'
    ? 'None'
    : object.type === 'namespace'
      ? 'jinja2.utils.Namespace object'
      : `${typeName(object)} object`;

/** Reads `object.key` or `object[key]`: Python's attributes come first for the former, items for the latter. */
export function readMember(object: Value, key: Value, isAttribute: boolean): Value {
  if (isMissing(object)) throw new Error(object.hint);
  const name = isText(key) ? key.value : null;
  const found = isAttribute
    ? ((name === null ? undefined : attributeOf(object, name)) ?? itemOf(object, key))
    : (itemOf(object, key) ?? (name === null ? undefined : attributeOf(object, name)));
  if (found !== undefined) return found;
  return undefinedValue(
    name === null
      ? `${describeType(object)} has no element ${isMissing(key) ? 'Undefined' : printed(key)}`
      : `${quoted(describeType(object))} has no attribute ${quoted(name)}`,
  );
}

/** Implements slices of texts, lists and tuples. */
export function sliced(object: Value, bounds: readonly (Value | null)[]): Value {
  if (isMissing(object)) throw new Error(object.hint);
  if (!isText(object) && !isIndexed(object)) throw new Error(`'${typeName(object)}' object cannot be sliced`);
  const numbers = bounds.map((bound) => {
    if (bound === null || bound.type === 'none') return null;
    if (bound.type !== 'int' && bound.type !== 'bool')
      throw new Error('slice indices must be integers or None or have an __index__ method');
    return Number(bound.value);
  });
  const [start = null, stop = null, step = null] = numbers;
  if (isText(object) && (step ?? 1) === 1 && isSimple(object.value)) {
    countRead(object.value.length);
    return { ...object, value: object.value.slice(...positionsOf(object.value.length, start, stop, 1)) };
  }
  const items = isText(object) ? charactersOf(object.value) : object.value;
  const picked = pick(items as readonly (string | Value)[], start, stop, step ?? 1);
  if (isText(object)) return { ...object, value: joinedTexts(picked as readonly string[]) };
  if (object.type === 'range') return slicedRange(object, start, stop, step ?? 1);
  return { type: object.type, value: picked as readonly Value[] };
}

/** Returns the first and the end position of a slice of `size` items, as Python's `slice.indices` does. */
function positionsOf(size: number, start: number | null, stop: number | null, step: number): [number, number] {
  if (step === 0) throw new Error('slice step cannot be zero');
  const [low, high] = step > 0 ? [0, size] : [-1, size - 1];
  const position = (bound: number | null, byDefault: number): number =>
    bound === null ? byDefault : Math.min(high, Math.max(low, bound < 0 ? bound + size : bound));
  return [position(start, step > 0 ? 0 : size - 1), position(stop, step > 0 ? size : -1)];
}

function slicedRange(range: SequenceValue, start: number | null, stop: number | null, step: number): Value {
  const { value, first = 0, step: own = 1 } = range;
  const [from, to] = positionsOf(value.length, start, stop, step);
  return rangeValue(first + from * own, first + to * own, step * own);
}

function pick<T>(items: readonly T[], start: number | null, stop: number | null, step: number): T[] {
  const [from, to] = positionsOf(items.length, start, stop, step);
  countItems(Math.max(0, (to - from) / step));
  const picked: T[] = [];
  for (let at = from; step > 0 ? at < to : at > to; at += step) picked.push(items[at] as T);
  return picked;
}

/** Returns an item by a dotted path, for `map(attribute=…)` and `sort(attribute=…)`. */
export function byPath(item: Value, path: Value, byDefault?: Value): Value {
  countTexts(path, { positional: [], keywords: new Map() });
  countItems(4);
  const keys: readonly Value[] = isText(path)
    ? path.value.split('.').map((key) => (/^\d+$/.test(key) ? integer(BigInt(key)) : text(key)))
    : [path];
  let value = item;
  for (const key of keys) {
    countItems(16);
    value = readMember(value, key, false);
    if (isMissing(value) && byDefault !== undefined && byDefault !== missing) value = byDefault;
  }
  return value;
}
