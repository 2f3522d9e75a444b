import { pythonFloat } from '@whetstone/core/util';
import { library, type Environment, type Value } from './library.js';

/** Creates runtime values of the template library through its public API. */
const probe = new library.Environment();
type ValueMaker<T> = (value: T) => Value;

/**
 * Returns a function that creates values of the same class as `sample`. It bypasses the constructor of the class, which
 * took a tenth of the time of data preparation.
 */
function makerOf<T>(sample: Value): ValueMaker<T> {
  const { type } = sample;
  const fields = Object.keys(sample).filter((key) => key !== 'type' && key !== 'value');
  // The constructor can be bypassed only if all other fields are undefined at first.
  const simple = fields.every((key) => (sample as unknown as Record<string, unknown>)[key] === undefined);
  const known = sample.constructor as new (value: T) => Value;
  if (!simple) return (value) => new known(value);
  function Fast(this: { type: string; value: T }, value: T): void {
    this.type = type;
    this.value = value;
  }
  Fast.prototype = known.prototype as object;
  const make = Fast as unknown as new (value: T) => Value;
  return (value) => new make(value);
}

const maker = <T>(name: string, sample: unknown): ValueMaker<T> => makerOf<T>(probe.set(name, sample));

export const text = maker<string>('text', '');
export const integer = maker<number>('integer', 0);
export const float = maker<number>('float', 0.5);
export const flag = maker<boolean>('flag', true);
export const list = maker<readonly Value[]>('list', []);
/** A tuple can only be created by evaluating one. */
export const tuple = makerOf<readonly Value[]>(
  new library.Interpreter(probe).evaluate({ type: 'TupleLiteral', value: [] }, probe),
);
export const mapping = maker<ReadonlyMap<string, Value>>('mapping', {});
export const callable = maker<(args: Value[], scope: Environment) => Value>('callable', () => null);
export const none: Value = maker<null>('none', null)(null);
export const missing: Value = maker<undefined>('missing', undefined)(undefined);

/** Creates a number of a data file that a JavaScript number would change. It prints as it was written. */
export function writtenValue(written: string): Value {
  const value = /^-?\d+$/.test(written) ? integer(Number(written)) : float(Number(written));
  return Object.assign(value, { written });
}

export const isText = (value: Value): value is Value & { readonly value: string } => value.type === 'StringValue';
export const isList = (value: Value): value is Value & { readonly value: readonly Value[] } =>
  value.type === 'ArrayValue' || value.type === 'TupleValue';
export const isMapping = (value: Value): value is Value & { readonly value: ReadonlyMap<string, Value> } =>
  value.type === 'ObjectValue' || value.type === 'KeywordArgumentsValue';
export const isNumber = (value: Value): value is Value & { readonly value: number; readonly written?: string } =>
  value.type === 'IntegerValue' || value.type === 'FloatValue';
export const isMissing = (value: Value): boolean => value.type === 'UndefinedValue';
export const isNone = (value: Value): boolean => value.type === 'NullValue';
export const isCallable = (
  value: Value,
): value is Value & { readonly value: (args: Value[], scope: Environment) => Value } => value.type === 'FunctionValue';

/** Returns Python's name of the type of a value, for error messages. */
export function typeName(value: Value): string {
  const names: Readonly<Record<string, string>> = {
    StringValue: 'str',
    IntegerValue: 'int',
    FloatValue: 'float',
    BooleanValue: 'bool',
    ArrayValue: 'list',
    TupleValue: 'tuple',
    ObjectValue: 'dict',
    NullValue: 'NoneType',
    UndefinedValue: 'Undefined',
    FunctionValue: 'function',
    NamespaceValue: 'Namespace',
  };
  return names[value.type] ?? value.type;
}

/** Implements Python's `str()`: a text itself, otherwise {@link representation}. */
export function printed(value: Value): string {
  if (isText(value)) return value.value;
  return isMissing(value) ? '' : representation(value);
}

/** Implements Python's `repr()`. */
export function representation(value: Value): string {
  if (isNumber(value) && value.written !== undefined) return value.written;
  if (isText(value)) return quoted(value.value);
  if (isNone(value)) return 'None';
  if (value.type === 'BooleanValue') return value.value === true ? 'True' : 'False';
  if (value.type === 'TupleValue' && isList(value))
    return value.value.length === 1
      ? `(${value.value.map(representation).join('')},)`
      : `(${value.value.map(representation).join(', ')})`;
  if (isList(value)) return `[${value.value.map(representation).join(', ')}]`;
  if (isMapping(value))
    return `{${[...value.value].map(([key, item]) => `${quoted(key)}: ${representation(item)}`).join(', ')}}`;
  if (value.type === 'FloatValue' && typeof value.value === 'number') return pythonFloat(value.value);
  return value.toString();
}

const escapes: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function quoted(string: string): string {
  const quote = string.includes("'") && !string.includes('"') ? '"' : "'";
  const body = Array.from(string, (character) => {
    if (character === quote) return `\\${character}`;
    const escape = escapes[character];
    if (escape !== undefined) return escape;
    if (!/[\p{C}\p{Zl}\p{Zp}\p{Zs}]/u.test(character) || character === ' ') return character;
    const point = character.codePointAt(0) ?? 0;
    return point < 0x100
      ? `\\x${point.toString(16).padStart(2, '0')}`
      : point < 0x10000
        ? `\\u${point.toString(16).padStart(4, '0')}`
        : `\\U${point.toString(16).padStart(8, '0')}`;
  });
  return quote + body.join('') + quote;
}

/** Implements Python's `==`: compares by content; numbers and booleans are comparable, other types are not. */
export function equals(left: Value, right: Value): boolean {
  const number = (value: Value): number | undefined =>
    isNumber(value) ? value.value : value.type === 'BooleanValue' ? Number(value.value) : undefined;
  const [a, b] = [number(left), number(right)];
  if (a !== undefined && b !== undefined) return a === b;
  if (isList(left) && isList(right))
    return (
      left.type === right.type &&
      left.value.length === right.value.length &&
      left.value.every((item, i) => equals(item, right.value[i] ?? missing))
    );
  if (isMapping(left) && isMapping(right))
    return (
      left.value.size === right.value.size &&
      [...left.value].every(([key, item]) => equals(item, right.value.get(key) ?? missing))
    );
  return left.type === right.type && left.value === right.value;
}
