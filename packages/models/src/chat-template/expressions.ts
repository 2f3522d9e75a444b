import { MAX_UNITS } from './builder.js';
import type { Evaluation } from './evaluation.js';
import { contains, filters, iterate, tests } from './filters.js';
import type { Environment, Node, Value } from './library.js';
import { callMethod, readMember } from './members.js';
import { describe, name, node, nodes, valueNode } from './nodes.js';
import { arithmetic } from './operators.js';
import { coverAll, shiftTraces } from './provenance.js';
import type { Arguments } from './text-methods.js';
import {
  equals,
  flag,
  integer,
  isCallable,
  isList,
  isMissing,
  isText,
  missing,
  printed,
  text,
  typeName,
} from './values.js';

/** Evaluates `left operator right`. */
export function evaluateBinary(evaluation: Evaluation, at: Node, scope: Environment): Value {
  const { evaluate, provenance } = evaluation;
  const operator = name(at['operator']);
  const left = evaluate(node(at['left']), scope);
  if (operator === 'and') return left.__bool__().value ? evaluate(node(at['right']), scope) : left;
  if (operator === 'or') return left.__bool__().value ? left : evaluate(node(at['right']), scope);
  const right = evaluate(node(at['right']), scope);
  if (operator === '==') return flag(equals(left, right));
  if (operator === '!=') return flag(!equals(left, right));
  if (operator === 'in' || operator === 'not in') return flag(contains(right, left) === (operator === 'in'));
  if (operator === '~' || (operator === '+' && isText(left) && isText(right))) return join(evaluation, left, right);
  const result = arithmetic(operator, left, right);
  if (result === null)
    return evaluation.evaluateByLibrary({ ...at, left: valueNode(left), right: valueNode(right) }, scope);
  const traces = (): Parameters<typeof coverAll>[1] => [...provenance.ofPrinted(left), ...provenance.ofPrinted(right)];
  return isText(result) ? provenance.set(result, coverAll(result.value.length, traces())) : result;
}

/** Joins two texts, whose traces are kept. */
function join({ provenance }: Evaluation, left: Value, right: Value): Value {
  const [first, second] = [printed(left), printed(right)];
  if (first.length + second.length > MAX_UNITS)
    throw new Error(`the template does not terminate: a text has more than ${MAX_UNITS} characters`);
  return provenance.set(text(first + second), [
    ...provenance.ofPrinted(left),
    ...shiftTraces(provenance.ofPrinted(right), first.length),
  ]);
}

/** Evaluates `object.property`, `object[key]` and `object[from:to]`. */
export function evaluateMember(
  { evaluate, evaluateByLibrary, provenance }: Evaluation,
  at: Node,
  scope: Environment,
): Value {
  const object = evaluate(node(at['object']), scope);
  const property = node(at['property']);
  if (isMissing(object)) throw new Error(`${describe(node(at['object']))} is undefined`);
  if (property.type === 'SliceExpression')
    return provenance.derive(evaluateByLibrary({ ...at, object: valueNode(object) }, scope), object);
  const key =
    at['computed'] === true
      ? evaluate(property, scope)
      : property.type === 'IntegerLiteral'
        ? integer(Number(property['value']))
        : text(name(property));
  const result = readMember(object, key, at['computed'] === true);
  return result === null
    ? evaluateByLibrary({ ...at, computed: true, object: valueNode(object), property: valueNode(key) }, scope)
    : provenance.derive(result, object);
}

/** Evaluates a call of a method or another function. */
export function evaluateCall(evaluation: Evaluation, at: Node, scope: Environment): Value {
  const { evaluate } = evaluation;
  const callee = node(at['callee']);
  const isMethod =
    callee.type === 'MemberExpression' && node(callee['property']).type === 'Identifier' && callee['computed'] !== true;
  if (!isMethod) {
    const target = evaluate(callee, scope);
    return invoke(evaluation, target, argumentsOf(evaluation, nodes(at['args']), scope), scope, describe(callee));
  }
  const object = evaluate(node(callee['object']), scope);
  if (isMissing(object)) throw new Error(`${describe(node(callee['object']))} is undefined`);
  const args = argumentsOf(evaluation, nodes(at['args']), scope);
  const result = callMethod(object, name(callee['property']), args);
  return result === null
    ? invoke(evaluation, evaluate({ ...callee, object: valueNode(object) }, scope), args, scope)
    : withOriginOfCall(evaluation, result, object, args);
}

/** Sets the traces of the result of a method of a text: those of the text, and of arguments that have traces. */
function withOriginOfCall({ provenance }: Evaluation, result: Value, object: Value, { positional }: Arguments): Value {
  if (!isText(object)) return result;
  if (isText(result))
    return positional.some((value) => provenance.ofPrinted(value).length > 0 || isList(value))
      ? provenance.set(result, coverAll(result.value.length, [object, ...positional].flatMap(provenance.within)))
      : provenance.derive(result, object);
  if (isList(result)) for (const item of result.value) provenance.derive(item, object);
  return result;
}

/** Calls a value. `label` names it in errors. */
export function invoke(
  { callables, evaluateByLibrary }: Evaluation,
  target: Value,
  args: Arguments,
  scope: Environment,
  label = 'the value',
): Value {
  if (!isCallable(target))
    throw new Error(isMissing(target) ? `${label} is undefined` : `'${typeName(target)}' object is not callable`);
  const native = callables.get(target);
  if (native !== undefined) return native(args);
  const keywords = [...args.keywords].map(([key, value]) => ({
    type: 'KeywordArgumentExpression',
    key: { type: 'Identifier', value: key },
    value: valueNode(value),
  }));
  return evaluateByLibrary(
    { type: 'CallExpression', callee: valueNode(target), args: [...args.positional.map(valueNode), ...keywords] },
    scope,
  );
}

/** Evaluates the arguments of a call. */
export function argumentsOf({ evaluate }: Evaluation, list: readonly Node[], scope: Environment): Arguments {
  const positional: Value[] = [];
  const keywords = new Map<string, Value>();
  for (const argument of list) {
    if (argument.type === 'SpreadExpression') positional.push(...iterate(evaluate(node(argument['argument']), scope)));
    else if (argument.type === 'KeywordArgumentExpression')
      keywords.set(name(argument['key']), evaluate(node(argument['value']), scope));
    else if (argument.type === 'KeywordSpreadExpression') {
      const value = evaluate(node(argument['argument']), scope).value;
      if (value instanceof Map) for (const [key, item] of value) keywords.set(String(key), item as Value);
    } else positional.push(evaluate(argument, scope));
  }
  return { positional, keywords };
}

/** Applies a filter: `operand | filter` or `operand | filter(…)`. */
export function applyFilter(evaluation: Evaluation, operand: Value, filter: Node, scope: Environment): Value {
  const { provenance } = evaluation;
  const isCall = filter.type === 'CallExpression';
  const filterName = name(isCall ? filter['callee'] : filter);
  const compute = Object.hasOwn(filters, filterName) ? filters[filterName] : undefined;
  if (compute === undefined)
    return evaluation.evaluateByLibrary({ type: 'FilterExpression', operand: valueNode(operand), filter }, scope);
  const args: Arguments = isCall
    ? argumentsOf(evaluation, nodes(filter['args']), scope)
    : { positional: [], keywords: new Map() };
  const result = compute(operand, args);
  if (result === operand || !isText(result)) return result;
  return isText(operand)
    ? provenance.derive(result, operand)
    : provenance.set(result, coverAll(result.value.length, provenance.within(operand)));
}

/** Evaluates `operand is test` and `operand is not test`. */
export function applyTest({ evaluate, evaluateByLibrary }: Evaluation, at: Node, scope: Environment): Value {
  const operand = evaluate(node(at['operand']), scope);
  const test = tests[name(at['test'])];
  if (test === undefined) return evaluateByLibrary({ ...at, operand: valueNode(operand) }, scope);
  return flag(test(operand, missing) !== (at['negate'] === true));
}
