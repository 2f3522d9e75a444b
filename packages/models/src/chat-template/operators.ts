import { joinedTexts, positionOf, repeated as repeatedText } from './bounded-text.js';
import { countDigits, countItems, countRead, exceeded, MAX_BITS, MAX_REPETITION } from './bounds.js';
import { percentFormat } from './format.js';
import { escapeHtml } from './html.js';
import { floatPower } from './power.js';
import type { BinaryOperator, ComparisonOperator } from './syntax.js';
import {
  bigintOf,
  bitsOf,
  compareNumbers,
  equals,
  float,
  integer,
  isList,
  isMapping,
  isMissing,
  isNumber,
  isText,
  iterate,
  keyOf,
  list,
  required,
  safeText,
  text,
  tuple,
  typeName,
  type IntegerValue,
  type SequenceValue,
  type TextValue,
  type Value,
} from './values.js';

/** Implements Python's binary operators. Throws Python's errors for incompatible types. */
export function arithmetic(operator: BinaryOperator, left: Value, right: Value): Value {
  required(left);
  required(right);
  if (operator === '%' && isText(left)) return percentFormat(left, right);
  if (isNumber(left) && isNumber(right)) {
    return left.type === 'float' || right.type === 'float'
      ? float(floatResult(operator, Number(left.value), Number(right.value)))
      : integerResult(operator, bigintOf(left), bigintOf(right));
  }
  if (operator === '+') return concatenated(left, right);
  if (operator === '*') return repeated(left, right);
  throw unsupported(operator, left, right);
}

function unsupported(operator: string, left: Value, right: Value): Error {
  const name = operator === '**' ? '** or pow()' : operator;
  return new Error(`unsupported operand type(s) for ${name}: '${typeName(left)}' and '${typeName(right)}'`);
}

function concatenated(left: Value, right: Value): Value {
  if (isText(left) && isText(right)) {
    if (left.safe !== true && right.safe !== true) return text(joinedTexts([left.value, right.value]));
    const part = ({ value, safe }: TextValue): string => (safe === true ? value : escapeHtml(value));
    return safeText(joinedTexts([part(left), part(right)]));
  }
  if ((left.type === 'list' || left.type === 'tuple') && right.type === left.type) {
    const items = (right as SequenceValue).value;
    countItems(left.value.length + items.length);
    return (left.type === 'list' ? list : tuple)([...left.value, ...items]);
  }
  if (isText(left) || left.type === 'list' || left.type === 'tuple')
    throw new Error(`can only concatenate ${typeName(left)} (not "${typeName(right)}") to ${typeName(left)}`);
  throw unsupported('+', left, right);
}

function repeated(left: Value, right: Value): Value {
  const isCount = (value: Value): value is IntegerValue => value.type === 'int' || value.type === 'bool';
  const [sequence, count] = isCount(left) ? [right, left] : [left, right];
  if (!isText(sequence) && sequence.type !== 'list' && sequence.type !== 'tuple') throw unsupported('*', left, right);
  if (!isCount(count)) throw new Error(`can't multiply sequence by non-int of type '${typeName(count)}'`);
  const repeats = Math.max(0, Number(count.value));
  const unit = isText(sequence) ? 'characters' : 'items';
  if (Math.max(sequence.value.length, 1) * repeats > MAX_REPETITION)
    exceeded('A repetition of the template is too long', MAX_REPETITION, unit);
  if (isText(sequence)) return { ...sequence, value: repeatedText(sequence.value, repeats) };
  countItems(sequence.value.length * repeats);
  return { type: sequence.type, value: Array.from({ length: repeats }, () => sequence.value).flat() };
}

const zeroDivision = (operator: string): Error =>
  new Error(operator === '%' ? 'modulo by zero' : operator === '**' ? 'zero to a negative power' : 'division by zero');

/** Implements Python's `%` for floats: the result has the sign of the divisor. */
function floatModulo(left: number, right: number): number {
  const rest = left % right;
  if (rest === 0) return right < 0 ? -0 : 0;
  return rest < 0 === right < 0 ? rest : rest + right;
}

function floatResult(operator: BinaryOperator, left: number, right: number): number {
  if (right === 0 && (operator === '/' || operator === '//' || operator === '%')) throw zeroDivision(operator);
  switch (operator) {
    case '+':
      return left + right;
    case '-':
      return left - right;
    case '*':
      return left * right;
    case '/':
      return left / right;
    case '//': {
      const quotient = (left - floatModulo(left, right)) / right;
      const floor = Math.floor(quotient);
      return quotient - floor > 0.5 ? floor + 1 : floor;
    }
    case '%':
      return floatModulo(left, right);
    case '**':
      if (left === 0 && right < 0) throw zeroDivision(operator);
      if (left < 0 && !Number.isInteger(right) && Number.isFinite(right))
        throw new Error('complex numbers are not supported');
      return floatPower(left, right);
  }
}

const binaryDigits = (absolute: bigint): number => absolute.toString(2).length;

/** Returns the bits of the largest integer that a JavaScript number cannot represent; 0 without one. */
const sizeOf = (...integers: readonly bigint[]): number =>
  Math.max(...integers.map((value) => (Number.isSafeInteger(Number(value)) ? 0 : bitsOf(value))));

/** Divides integers and rounds the result once, as Python does. */
function quotient(left: bigint, right: bigint): number {
  const [a, b] = [Number(left), Number(right)];
  if (Number.isSafeInteger(a) && Number.isSafeInteger(b)) return a / b;
  const [numerator, denominator] = [left < 0n ? -left : left, right < 0n ? -right : right];
  // More bits than a float has; the last one is set if there is a remainder.
  const shift = Math.max(0, 70 - binaryDigits(numerator) + binaryDigits(denominator));
  if (shift > 1000) throw new Error('the quotient of these integers is too small');
  const scaled = numerator << BigInt(shift);
  const digits = (scaled / denominator) | (scaled % denominator === 0n ? 0n : 1n);
  const absolute = Number(digits) / 2 ** shift;
  if (!Number.isFinite(absolute)) throw new Error('integer division result too large for a float');
  return left < 0n === right < 0n ? absolute : -absolute;
}

function integerResult(operator: BinaryOperator, left: bigint, right: bigint): Value {
  if (right === 0n && (operator === '/' || operator === '//' || operator === '%')) throw zeroDivision(operator);
  if (operator !== '**') countDigits(operator === '*' ? sizeOf(left) + sizeOf(right) : sizeOf(left, right));
  switch (operator) {
    case '+':
      return integer(left + right);
    case '-':
      return integer(left - right);
    case '*':
      return integer(left * right);
    case '/':
      return float(quotient(left, right));
    case '//': {
      const quotient = left / right;
      return integer(left % right !== 0n && left < 0n !== right < 0n ? quotient - 1n : quotient);
    }
    case '%': {
      const rest = left % right;
      return integer(rest !== 0n && rest < 0n !== right < 0n ? rest + right : rest);
    }
    case '**': {
      if (right < 0n) {
        if (left === 0n) throw zeroDivision(operator);
        return float(floatPower(Number(left), Number(right)));
      }
      if (BigInt(left.toString(2).length) * right > BigInt(MAX_BITS))
        exceeded('A power of the template is too large', MAX_BITS, 'bits');
      countDigits(left.toString(2).length * Number(right));
      return integer(left ** right);
    }
  }
}

/** Implements the unary operators `-` and `+`. */
export function signed(isNegative: boolean, operand: Value): Value {
  required(operand);
  if (operand.type === 'float') return isNegative ? float(-operand.value) : operand;
  if (operand.type !== 'int' && operand.type !== 'bool')
    throw new Error(`bad operand type for unary ${isNegative ? '-' : '+'}: '${typeName(operand)}'`);
  return integer(isNegative ? -bigintOf(operand) : bigintOf(operand));
}

/** Compares texts by code points, as Python does. */
function compareTexts(left: string, right: string): number {
  const length = Math.min(left.length, right.length);
  countRead(length);
  let at = 0;
  while (at < length && left.charCodeAt(at) === right.charCodeAt(at)) at++;
  if (at === length) return left.length - right.length;
  const rank = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);
  return rank(left.charCodeAt(at)) - rank(right.charCodeAt(at));
}

/** Implements the order of Python's `<`: negative, 0, positive, or NaN. @throws if the types have no order. */
export function order(left: Value, right: Value, operator = '<'): number {
  required(left);
  required(right);
  if (isNumber(left) && isNumber(right)) return compareNumbers(left, right);
  if (isText(left) && isText(right)) return compareTexts(left.value, right.value);
  if ((left.type === 'list' || left.type === 'tuple') && right.type === left.type)
    return orderSequences(left, right as SequenceValue, operator);
  throw new Error(`'${operator}' not supported between instances of '${typeName(left)}' and '${typeName(right)}'`);
}

function orderSequences(left: SequenceValue, right: SequenceValue, operator: string): number {
  for (const [at, item] of left.value.entries()) {
    countItems(1);
    const other = right.value[at];
    if (other === undefined) return 1;
    if (!equals(item, other)) return order(item, other, operator);
  }
  return left.value.length - right.value.length;
}

/** Implements Python's comparison operators. */
export function compare(operator: ComparisonOperator, left: Value, right: Value): boolean {
  switch (operator) {
    case '==':
      return equals(left, right);
    case '!=':
      return !equals(left, right);
    case 'in':
      return contains(right, left);
    case 'not in':
      return !contains(right, left);
    default: {
      const sign = order(left, right, operator);
      if (Number.isNaN(sign)) return false;
      return operator === '<' ? sign < 0 : operator === '<=' ? sign <= 0 : operator === '>' ? sign > 0 : sign >= 0;
    }
  }
}

/** Implements Python's `in`. */
export function contains(container: Value, item: Value): boolean {
  if (isText(container)) {
    if (!isText(item)) throw new Error(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    return positionOf(container.value, item.value) >= 0;
  }
  if (isMapping(container)) return !isMissing(item) && container.value.has(keyOf(item));
  if (container.type === 'view' && container.label === 'dict_keys') keyOf(item);
  if (isList(container)) return iterate(container).some((candidate) => equals(candidate, item));
  if (isMissing(container)) return false;
  throw new Error(`argument of type '${typeName(container)}' is not iterable`);
}
