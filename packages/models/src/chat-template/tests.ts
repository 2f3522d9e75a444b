/** Jinja's tests: `value is name`. */
import { bind } from './arguments.js';
import { arithmetic, compare, contains } from './operators.js';
import { isLower, isUpper } from './text-methods.js';
import {
  equals,
  integer,
  isMapping,
  isMissing,
  isNone,
  isNumber,
  isText,
  printed,
  type Arguments,
  type Value,
} from './values.js';

type Test = (value: Value, args: Arguments) => boolean;

const plain =
  (label: string, test: (value: Value) => boolean): Test =>
  (value, args) => {
    bind(label, args);
    return test(value);
  };

const withOther =
  (label: string, parameter: string, test: (value: Value, other: Value) => boolean): Test =>
  (value, args) =>
    test(value, bind(label, args, parameter).need(parameter));

const equal = withOther('eq', 'b', equals);
const notEqual = withOther('ne', 'b', (value, other) => !equals(value, other));
const less = withOther('lt', 'b', (value, other) => compare('<', value, other));
const lessOrEqual = withOther('le', 'b', (value, other) => compare('<=', value, other));
const greater = withOther('gt', 'b', (value, other) => compare('>', value, other));
const greaterOrEqual = withOther('ge', 'b', (value, other) => compare('>=', value, other));

const rest = (value: Value, divisor: Value): Value => arithmetic('%', value, divisor);

/** Implements Python's `is`, as far as it does not depend on how the interpreter stores values. */
function isSame(value: Value, other: Value): boolean {
  if (value === other) return true;
  if (value.type !== other.type) return false;
  if (value.type === 'bool' || value.type === 'none') return equals(value, other);
  if (value.type === 'int' && Number(value.value) >= -5 && Number(value.value) <= 256) return equals(value, other);
  if ((isText(value) || isNumber(value) || value.type === 'tuple') && equals(value, other))
    throw new Error('the test "sameas" is supported only for booleans, none and small integers; use "=="');
  return false;
}

const isSequence = (value: Value): boolean =>
  isText(value) ||
  isMapping(value) ||
  isMissing(value) ||
  value.type === 'list' ||
  value.type === 'tuple' ||
  value.type === 'range';

const isInteger = (value: Value): boolean => value.type === 'int';

export const tests: Readonly<Record<string, Test>> = {
  defined: plain('defined', (value) => !isMissing(value)),
  undefined: plain('undefined', isMissing),
  none: plain('none', isNone),
  string: plain('string', isText),
  mapping: plain('mapping', isMapping),
  sequence: plain('sequence', isSequence),
  iterable: plain('iterable', (value) => isSequence(value) || value.type === 'view' || value.type === 'generator'),
  number: plain('number', isNumber),
  integer: plain('integer', isInteger),
  float: plain('float', ({ type }) => type === 'float'),
  boolean: plain('boolean', ({ type }) => type === 'bool'),
  true: plain('true', ({ type, value }) => type === 'bool' && value === true),
  false: plain('false', ({ type, value }) => type === 'bool' && value === false),
  callable: plain(
    'callable',
    (value) => value.type === 'function' || isMissing(value) || (value.type === 'object' && value.call !== undefined),
  ),
  escaped: plain('escaped', (value) => isText(value) && value.safe === true),
  lower: plain('lower', (value) => isLower(printed(value))),
  upper: plain('upper', (value) => isUpper(printed(value))),
  odd: plain('odd', (value) => equals(rest(value, integer(2)), integer(1))),
  even: plain('even', (value) => equals(rest(value, integer(2)), integer(0))),
  divisibleby: withOther('divisibleby', 'num', (value, divisor) => equals(rest(value, divisor), integer(0))),
  sameas: withOther('sameas', 'other', isSame),
  in: withOther('in', 'seq', (value, container) => contains(container, value)),
  eq: equal,
  equalto: equal,
  '==': equal,
  ne: notEqual,
  '!=': notEqual,
  lt: less,
  lessthan: less,
  '<': less,
  le: lessOrEqual,
  '<=': lessOrEqual,
  gt: greater,
  greaterthan: greater,
  '>': greater,
  ge: greaterOrEqual,
  '>=': greaterOrEqual,
};
