import type { Value } from './library.js';
import { float, flag, integer, isList, isMissing, isNumber, isText, list, printed, text, typeName } from './values.js';

/** Maximum length of a repeated text or list. */
const MAX_REPETITION = 1_000_000;

/**
 * Computes operators for which the library differs from Python; returns null for all others. Throws Python's errors for
 * incompatible types.
 */
export function arithmetic(operator: string, left: Value, right: Value): Value | null {
  if (isMissing(left) || isMissing(right)) throw new Error('the value is undefined');
  switch (operator) {
    case '+':
      return plus(left, right);
    case '*':
      return times(left, right);
    case '/':
    case '//':
      if (isNumber(right) && right.value === 0) throw new Error('division by zero');
      return null;
    case '%':
      return isText(left) ? text(format(left.value, right)) : modulo(left, right);
    case '<':
    case '>':
    case '<=':
    case '>=':
      return compared(operator, left, right);
    default:
      return null;
  }
}

function plus(left: Value, right: Value): Value | null {
  if (isText(left) !== isText(right) || isList(left) !== isList(right)) {
    if (isText(left) || isList(left))
      throw new Error(`can only concatenate ${typeName(left)} (not "${typeName(right)}") to ${typeName(left)}`);
    throw new Error(`unsupported operand type(s) for +: '${typeName(left)}' and '${typeName(right)}'`);
  }
  if (isList(left) && isList(right)) return list([...left.value, ...right.value]);
  return null;
}

function times(left: Value, right: Value): Value | null {
  const [sequence, count] = isNumber(left) ? [right, left] : [left, right];
  if (!isText(sequence) && !isList(sequence)) return null;
  if (count.type !== 'IntegerValue' || !isNumber(count))
    throw new Error(`can't multiply sequence by non-int of type '${typeName(count)}'`);
  const repeats = Math.max(0, count.value);
  if (sequence.value.length * repeats > MAX_REPETITION) throw new Error('the repetition is too long');
  return isText(sequence)
    ? text(sequence.value.repeat(repeats))
    : list(Array.from({ length: repeats }, () => (isList(sequence) ? sequence.value : [])).flat());
}

function modulo(left: Value, right: Value): Value | null {
  if (!isNumber(left) || !isNumber(right)) return null;
  if (right.value === 0) throw new Error('integer modulo by zero');
  const result = left.value - right.value * Math.floor(left.value / right.value);
  return left.type === 'FloatValue' || right.type === 'FloatValue' ? float(result) : integer(result);
}

function compared(operator: string, left: Value, right: Value): Value {
  const number = (value: Value): number | undefined =>
    isNumber(value) ? value.value : value.type === 'BooleanValue' ? Number(value.value) : undefined;
  const [a, b] = isText(left) && isText(right) ? [left.value, right.value] : [number(left), number(right)];
  if (a === undefined || b === undefined)
    throw new Error(`'${operator}' not supported between instances of '${typeName(left)}' and '${typeName(right)}'`);
  return flag(operator === '<' ? a < b : operator === '>' ? a > b : operator === '<=' ? a <= b : a >= b);
}

/** Implements Python's `%` formatting for the directives s, d, i, f and %. */
function format(pattern: string, values: Value): string {
  const items = values.type === 'TupleValue' && isList(values) ? [...values.value] : [values];
  return pattern.replace(
    /%(0?\d*)(?:\.(\d+))?([sdif%])/g,
    (_written, width: string, digits: string | undefined, kind: string) => {
      if (kind === '%') return '%';
      const value = items.shift();
      if (value === undefined) throw new Error('not enough arguments for format string');
      const body =
        kind === 's'
          ? printed(value)
          : kind === 'f'
            ? Number(value.value).toFixed(digits === undefined ? 6 : Number(digits))
            : String(Math.trunc(Number(value.value)));
      return body.padStart(Math.min(Number(width), 10_000), width.startsWith('0') ? '0' : ' ');
    },
  );
}
