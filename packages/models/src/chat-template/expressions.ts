import { countItems, countSteps, exceeded, MAX_LENGTH } from './bounds.js';
import type { Evaluation } from './evaluation.js';
import { callFilter, callTest } from './filters.js';
import { readMember, sliced } from './members.js';
import { arithmetic, compare, signed } from './operators.js';
import { coverAll, shiftTraces, type Trace } from './provenance.js';
import type { Scope } from './scope.js';
import { describe, type ArgumentNodes, type Call, type Expression, type Filter } from './syntax.js';
import {
  dictionary,
  equals,
  flag,
  isList,
  isMapping,
  isMissing,
  isNumber,
  isText,
  iterate,
  list,
  printed,
  text,
  truth,
  tuple,
  typeName,
  undefinedValue,
  type Arguments,
  type Native,
  type Value,
} from './values.js';

/** Evaluates an expression. */
export function evaluate(evaluation: Evaluation, at: Expression, scope: Scope): Value {
  countSteps(1);
  switch (at.kind) {
    case 'constant':
      // A copy, because traces belong to the object.
      return isText(at.value) ? text(at.value.value) : at.value;
    case 'name':
      return scope.get(at.name) ?? undefinedValue(`'${at.name}' is undefined`);
    case 'tuple':
      return tuple(at.items.map((item) => evaluate(evaluation, item, scope)));
    case 'list':
      return list(at.items.map((item) => evaluate(evaluation, item, scope)));
    case 'dict':
      return dictionary(
        at.pairs.map(([key, value]) => [evaluate(evaluation, key, scope), evaluate(evaluation, value, scope)] as const),
      );
    case 'concat':
      return at.items
        .map((item) => evaluate(evaluation, item, scope))
        .reduce((left, right) => joined(evaluation, left, right));
    case 'and': {
      const left = evaluate(evaluation, at.left, scope);
      return truth(left) ? evaluate(evaluation, at.right, scope) : left;
    }
    case 'or': {
      const left = evaluate(evaluation, at.left, scope);
      return truth(left) ? left : evaluate(evaluation, at.right, scope);
    }
    case 'not':
      return flag(!truth(evaluate(evaluation, at.operand, scope)));
    case 'negative':
    case 'positive':
      return signed(at.kind === 'negative', evaluate(evaluation, at.operand, scope));
    case 'binary':
      return binary(evaluation, at, scope);
    case 'compare':
      return comparison(evaluation, at, scope);
    case 'condition':
      if (truth(evaluate(evaluation, at.test, scope))) return evaluate(evaluation, at.value, scope);
      if (at.otherwise === null)
        return undefinedValue('the inline if-expression evaluated to false and no else section was defined.');
      return evaluate(evaluation, at.otherwise, scope);
    case 'attribute':
    case 'item':
      return member(evaluation, at, scope);
    case 'call':
      return call(evaluation, at, scope);
    case 'filter':
      return at.operand === null
        ? undefinedValue('a filter without a value')
        : applyFilter(evaluation, evaluate(evaluation, at.operand, scope), at, scope);
    case 'test':
      return flag(callTest(at.name, evaluate(evaluation, at.operand, scope), argumentsOf(evaluation, at.args, scope)));
    case 'member':
    case 'slice':
      throw new Error(`a ${at.kind} cannot stand here`);
  }
}

function binary(evaluation: Evaluation, at: Expression & { readonly kind: 'binary' }, scope: Scope): Value {
  const { provenance } = evaluation;
  const left = evaluate(evaluation, at.left, scope);
  const right = evaluate(evaluation, at.right, scope);
  const isPlain = (value: Value): boolean => isText(value) && value.safe !== true;
  if (at.operator === '+' && isPlain(left) && isPlain(right)) return joined(evaluation, left, right);
  const result = at.operator === '**' ? power(at, left, right) : arithmetic(at.operator, left, right);
  const traces = (): readonly Trace[] => [...provenance.ofPrinted(left), ...provenance.ofPrinted(right)];
  return isText(result) ? provenance.set(result, coverAll(result.value.length, traces())) : result;
}

/** Returns whether an expression consists of literals and operators. */
const isLiteral = (at: Expression): boolean =>
  at.kind === 'constant' ||
  ((at.kind === 'negative' || at.kind === 'positive') && isLiteral(at.operand)) ||
  (at.kind === 'binary' && isLiteral(at.left) && isLiteral(at.right));

/** Returns whether part of an expression is a variable, so that Jinja cannot compute it in advance. */
function hasVariable(part: unknown): boolean {
  if (typeof part !== 'object' || part === null) return false;
  const { kind } = part as { readonly kind?: unknown };
  return kind === 'name' || (kind !== 'constant' && Object.values(part).some(hasVariable));
}

/**
 * Computes a power. Jinja writes a negative literal into Python code without parentheses, so that `-3 ** x` is
 * `-(3 ** x)`, unless it can compute the whole power in advance.
 */
function power(
  { left: base, right: exponent }: Expression & { readonly kind: 'binary' },
  left: Value,
  right: Value,
): Value {
  const result = arithmetic('**', left, right);
  const isNegative = isNumber(left) && left.type !== 'bool' && Number(left.value) < 0;
  if (!isNegative || !isLiteral(base) || isLiteral(exponent)) return result;
  const other = signed(true, arithmetic('**', signed(true, left), right));
  if (hasVariable(exponent) || equals(result, other)) return other;
  throw new Error('the power of a negative number is ambiguous here: put it into a variable first');
}

/** Evaluates a chain of comparisons: `a < b < c` compares b with c only if a is less than b. */
function comparison(evaluation: Evaluation, at: Expression & { readonly kind: 'compare' }, scope: Scope): Value {
  let left = evaluate(evaluation, at.first, scope);
  for (const { operator, operand } of at.rest) {
    const right = evaluate(evaluation, operand, scope);
    if (!compare(operator, left, right)) return flag(false);
    left = right;
  }
  return flag(true);
}

/** Joins two texts, whose traces are kept. */
function joined({ provenance }: Evaluation, left: Value, right: Value): Value {
  const [start, end] = [printed(left), printed(right)];
  if (start.length + end.length > MAX_LENGTH) exceeded('A text of the template is too long', MAX_LENGTH, 'characters');
  return provenance.set(text(start + end), [
    ...provenance.ofPrinted(left),
    ...shiftTraces(provenance.ofPrinted(right), start.length),
  ]);
}

/** Evaluates `object.name`, `object[key]` and `object[start:stop:step]`. */
function member(evaluation: Evaluation, at: Expression & { readonly kind: 'attribute' | 'item' }, scope: Scope): Value {
  const { provenance } = evaluation;
  const object = evaluate(evaluation, at.object, scope);
  if (isMissing(object)) throw new Error(undefinedUse(at.object, object.hint));
  if (at.kind === 'item' && at.key.kind === 'slice') {
    const { start, stop, step } = at.key;
    const bounds = [start, stop, step].map((bound) => (bound === null ? null : evaluate(evaluation, bound, scope)));
    return provenance.derive(sliced(object, bounds), object);
  }
  const result =
    at.kind === 'attribute'
      ? readMember(object, text(at.name), true)
      : readMember(object, evaluate(evaluation, at.key, scope), false);
  return provenance.derive(result, object);
}

/** Returns the message for a use of an undefined value, with its expression: Jinja names only its last key. */
function undefinedUse(at: Expression, hint: string): string {
  const label = describe(at);
  return label === 'the value' || hint.startsWith('access to') ? hint : `${label} is undefined`;
}

/** Evaluates a call of a method or another function. */
function call(evaluation: Evaluation, at: Call, scope: Scope): Value {
  const { provenance } = evaluation;
  const { callee } = at;
  if (callee.kind !== 'attribute') {
    const target = evaluate(evaluation, callee, scope);
    return invoke(target, argumentsOf(evaluation, at.args, scope), describe(callee));
  }
  const object = evaluate(evaluation, callee.object, scope);
  if (isMissing(object)) throw new Error(undefinedUse(callee.object, object.hint));
  const target = readMember(object, text(callee.name), true);
  const args = argumentsOf(evaluation, at.args, scope);
  const result = invoke(target, args, describe(callee));
  if (!isText(object)) return result;
  return withOriginOfCall(provenance, result, object, args);
}

/** Sets the traces of the result of a method of a text: those of the text, and of arguments that have traces. */
function withOriginOfCall(
  provenance: Evaluation['provenance'],
  result: Value,
  object: Value,
  { positional }: Arguments,
): Value {
  if (isText(result))
    return positional.some((value) => isList(value) || provenance.ofPrinted(value).length > 0)
      ? provenance.set(result, coverAll(result.value.length, [object, ...positional].flatMap(provenance.within)))
      : provenance.derive(result, object);
  if (isList(result)) for (const item of result.value) provenance.derive(item, object);
  return result;
}

/** Calls a value. `label` names it in errors. */
export function invoke(target: Value, args: Arguments, label = 'the value'): Value {
  const native: Native | undefined =
    target.type === 'function' ? target.value : target.type === 'object' ? target.call : undefined;
  if (native !== undefined) return native(args);
  throw new Error(
    isMissing(target)
      ? label === 'the value' || target.hint.startsWith('access to')
        ? target.hint
        : `${label} is undefined`
      : `'${typeName(target)}' object is not callable`,
  );
}

/** Evaluates the arguments of a call. */
export function argumentsOf(evaluation: Evaluation, nodes: ArgumentNodes, scope: Scope): Arguments {
  const positional = nodes.positional.map((argument) => evaluate(evaluation, argument, scope));
  const keywords = new Map<string, Value>();
  for (const [name, argument] of nodes.keywords) keywords.set(name, evaluate(evaluation, argument, scope));
  if (nodes.rest !== null) for (const value of iterate(evaluate(evaluation, nodes.rest, scope))) positional.push(value);
  if (nodes.restKeywords !== null) {
    const further = evaluate(evaluation, nodes.restKeywords, scope);
    if (!isMapping(further)) throw new Error(`argument after ** must be a mapping, not ${typeName(further)}`);
    if (further.others !== undefined) throw new Error('keywords must be strings');
    countItems(further.value.size);
    for (const [name, value] of further.value) {
      if (keywords.has(name)) throw new Error(`got multiple values for keyword argument '${name}'`);
      keywords.set(name, value);
    }
  }
  return { positional, keywords };
}

/** Applies a filter to a value. */
function applyFilter(evaluation: Evaluation, operand: Value, filter: Filter, scope: Scope): Value {
  const { provenance } = evaluation;
  const result = callFilter(filter.name, operand, argumentsOf(evaluation, filter.args, scope));
  if (result === operand || !isText(result)) return result;
  return isText(operand)
    ? provenance.derive(result, operand)
    : provenance.set(result, coverAll(result.value.length, provenance.within(operand)));
}

/** Applies the chain of filters of a block to its text. */
export function applyBlockFilter(evaluation: Evaluation, written: Value, filter: Filter, scope: Scope): Value {
  const { operand } = filter;
  const inner = operand?.kind === 'filter' ? applyBlockFilter(evaluation, written, operand, scope) : written;
  return applyFilter(evaluation, inner, filter, scope);
}
