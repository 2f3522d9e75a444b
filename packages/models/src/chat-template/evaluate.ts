import { createBuilder, MAX_UNITS, type Builder } from './builder.js';
import { callMethod, readMember } from './members.js';
import { contains, filters, iterate, tests } from './filters.js';
import { library, scopeWithin, type Environment, type Node, type Value } from './library.js';
import { changeDetector, loopVariable } from './loop-variable.js';
import { createMacro, type Callables } from './macros.js';
import { describe, valueNode, isMarker, LoopControl, matchingEnd, name, node, nodes, usesOfLoop } from './nodes.js';
import { arithmetic } from './operators.js';
import { deriveTraces, shiftTraces, coverAll, type Provenance, type Trace } from './provenance.js';
import { generationStart } from './source.js';
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

/** Maximum number of evaluation steps; it turns a template that does not terminate into an error. */
const MAX_STEPS = 2_000_000;

/** The services that an evaluation uses. */
export interface EvaluationContext {
  readonly provenance: Provenance;
  /** Returns the index of the message that a value represents; undefined for other values. */
  messageOf(value: Value): number | undefined;
  readonly callables: Callables;
}

/**
 * Creates an evaluator of parsed templates. It evaluates blocks, loops, macros, operators, methods and filters itself,
 * because they must follow Python's rules and track which message each text came from. The library evaluates the rest.
 */
export function createEvaluator(
  { provenance, messageOf, callables }: EvaluationContext,
  globals: Environment,
): (program: Node) => Value {
  const interpreter = new library.Interpreter(globals);
  const base = interpreter.evaluate.bind(interpreter);
  let steps = 0;
  /** Index of the message that is the item of the innermost loop over messages; -1 outside of such a loop. */
  let current = -1;
  /** False in a loop over other values (positions, tool calls), until a message is assigned to a variable. */
  let atMessage = true;

  const step = (count: number): void => {
    steps += count;
    if (steps > MAX_STEPS) throw new Error(`the template does not terminate: stopped after ${MAX_STEPS} steps`);
  };

  const evaluate = (at: Node | undefined, scope: Environment): Value => {
    step(1);
    switch (at?.type) {
      case 'ComputedValue':
        return at['value'] as Value;
      case 'Program':
        return capture(nodes(at['body']), scope);
      case 'StringLiteral':
        return text(String(at['value']));
      case 'Identifier':
        return scope.lookupVariable(name(at));
      case 'BinaryExpression':
        return binary(at, scope);
      case 'MemberExpression':
        return member(at, scope);
      case 'CallExpression':
        return call(at, scope);
      case 'FilterExpression':
        return applyFilter(evaluate(node(at['operand']), scope), node(at['filter']), scope);
      case 'TestExpression':
        return applyTest(at, scope);
      default:
        return base(at, scope);
    }
  };
  interpreter.evaluate = evaluate;

  const capture = (body: readonly Node[], scope: Environment): Value => {
    const out = createBuilder();
    run(body, scope, out);
    const { text: written, traces } = out.finish();
    return provenance.set(text(written), traces);
  };

  const run = (body: readonly Node[], scope: Environment, out: Builder): void => {
    for (let i = 0; i < body.length; i++) {
      const statement = body[i];
      if (statement === undefined) continue;
      if (isMarker(statement, generationStart)) {
        const end = matchingEnd(body, i);
        const start = out.length();
        run(body.slice(i + 1, end), scopeWithin(scope), out);
        out.trace({ start, end: out.length(), message: current, kind: 'generation' });
        i = end;
      } else {
        execute(statement, scope, out);
      }
    }
  };

  const execute = (statement: Node, scope: Environment, out: Builder): void => {
    switch (statement.type) {
      case 'Comment':
        return;
      case 'If':
        return run(
          nodes(evaluate(node(statement['test']), scope).__bool__().value ? statement['body'] : statement['alternate']),
          scope,
          out,
        );
      case 'For':
        return loop(statement, scope, out);
      case 'Set':
        return assign(statement, scope);
      case 'Macro': {
        scope.setVariable(
          name(statement['name']),
          callables.define(
            createMacro({
              label: `macro '${name(statement['name'])}'`,
              parameters: nodes(statement['args']),
              body: nodes(statement['body']),
              scope,
              evaluate,
              capture,
            }),
          ),
        );
        return;
      }
      case 'CallStatement': {
        const caller = callables.define(
          createMacro({
            label: 'macro None',
            parameters: nodes(statement['callerArgs'] ?? []),
            body: nodes(statement['body']),
            scope,
            evaluate,
            capture,
          }),
        );
        const target = node(statement['call']);
        const args = argumentsOf(nodes(target['args']), scope);
        return emit(
          invoke(
            evaluate(node(target['callee']), scope),
            { ...args, keywords: new Map([...args.keywords, ['caller', caller]]) },
            scope,
          ),
          out,
        );
      }
      case 'FilterStatement':
        return emit(
          applyFilter(capture(nodes(statement['body']), scopeWithin(scope)), node(statement['filter']), scope),
          out,
        );
      case 'Break':
        throw new LoopControl('break');
      case 'Continue':
        throw new LoopControl('continue');
      default:
        emit(evaluate(statement, scope), out);
    }
  };

  const emit = (value: Value, out: Builder): void => {
    out.append(printed(value), isText(value) ? provenance.of(value) : coverAll(printed(value).length, origins(value)));
  };

  /** Returns the traces of a value and of the values in it. */
  const origins = (value: Value): readonly Trace[] => {
    const own = provenance.of(value);
    if (isList(value)) return [...own, ...value.value.flatMap(origins)];
    return own;
  };

  const loop = (statement: Node, scope: Environment, out: Builder): void => {
    const iterable = node(statement['iterable']);
    const filter = iterable.type === 'SelectExpression' ? node(iterable['test']) : null;
    const source = evaluate(filter === null ? iterable : node(iterable['lhs']), scope);
    const bind = (item: Value): Environment => {
      const inner = scopeWithin(scope);
      assignTo(node(statement['loopvar']), item, inner);
      return inner;
    };
    const traces = provenance.of(source);
    const all = isText(source)
      ? iterate(source).map((item) => provenance.set(item, coverAll(printed(item).length, traces)))
      : iterate(source);
    step(all.length);
    const items = filter === null ? all : all.filter((item) => evaluate(filter, bind(item)).__bool__().value);
    const loopUses = usesOfLoop(statement);
    const [outer, outerAtMessage] = [current, atMessage];
    const changed = changeDetector(callables);
    try {
      for (const [index, item] of items.entries()) {
        const inner = bind(item);
        if (loopUses === 'all' || loopUses.size > 0)
          inner.setVariable('loop', loopVariable({ items, index, changed, callables }, loopUses));
        const message = messageOf(item);
        current = message ?? outer;
        atMessage = message !== undefined;
        const start = out.length();
        const control = iteration(nodes(statement['body']), inner, out);
        if (current !== outer && current >= 0) out.trace({ start, end: out.length(), message: current, kind: 'turn' });
        if (control === 'break') break;
      }
    } finally {
      current = outer;
      atMessage = outerAtMessage;
    }
    if (items.length === 0) run(nodes(statement['defaultBlock']), scope, out);
  };

  const iteration = (body: readonly Node[], scope: Environment, out: Builder): 'break' | 'continue' | null => {
    try {
      run(body, scope, out);
      return null;
    } catch (thrown) {
      if (thrown instanceof LoopControl) return thrown.kind;
      throw thrown;
    }
  };

  const assign = (statement: Node, scope: Environment): void => {
    const value =
      statement['value'] === null
        ? capture(nodes(statement['body']), scopeWithin(scope))
        : evaluate(node(statement['value']), scope);
    const target = node(statement['assignee']);
    // `{% set message = messages[i] %}` in a loop over positions: the following output belongs to that message.
    const message = atMessage || target.type !== 'Identifier' ? undefined : messageOf(value);
    if (message !== undefined) {
      current = message;
      atMessage = true;
    }
    assignTo(target, value, scope);
  };

  const assignTo = (target: Node, value: Value, scope: Environment): void => {
    if (target.type === 'Identifier') {
      scope.setVariable(name(target), value);
    } else if (target.type === 'TupleLiteral') {
      const targets = nodes(target['value']);
      const items = iterate(value);
      if (items.length !== targets.length)
        throw new Error(
          items.length > targets.length
            ? `too many values to unpack (expected ${targets.length})`
            : `not enough values to unpack (expected ${targets.length}, got ${items.length})`,
        );
      for (const [i, item] of targets.entries()) assignTo(item, items[i] ?? missing, scope);
    } else {
      base({ type: 'Set', assignee: target, value: valueNode(value), body: [] }, scope);
    }
  };

  const binary = (at: Node, scope: Environment): Value => {
    const operator = name(at['operator']);
    const left = evaluate(node(at['left']), scope);
    if (operator === 'and') return left.__bool__().value ? evaluate(node(at['right']), scope) : left;
    if (operator === 'or') return left.__bool__().value ? left : evaluate(node(at['right']), scope);
    const right = evaluate(node(at['right']), scope);
    if (operator === '==') return flag(equals(left, right));
    if (operator === '!=') return flag(!equals(left, right));
    if (operator === 'in' || operator === 'not in') return flag(contains(right, left) === (operator === 'in'));
    const joined = operator === '~' || (operator === '+' && isText(left) && isText(right));
    if (joined) {
      const [first, second] = [printed(left), printed(right)];
      if (first.length + second.length > MAX_UNITS)
        throw new Error(`the template does not terminate: a text has more than ${MAX_UNITS} characters`);
      return provenance.set(text(first + second), [...tracesOf(left), ...shiftTraces(tracesOf(right), first.length)]);
    }
    const own = arithmetic(operator, left, right);
    if (own === null) return base({ ...at, left: valueNode(left), right: valueNode(right) }, scope);
    return isText(own) ? provenance.set(own, coverAll(own.value.length, [...tracesOf(left), ...tracesOf(right)])) : own;
  };

  const tracesOf = (value: Value): readonly Trace[] =>
    isText(value) ? provenance.of(value) : coverAll(printed(value).length, origins(value));

  const member = (at: Node, scope: Environment): Value => {
    const object = evaluate(node(at['object']), scope);
    const property = node(at['property']);
    if (property.type === 'SliceExpression' || isMissing(object)) {
      if (isMissing(object)) throw new Error(`${describe(node(at['object']))} is undefined`);
      return keepOrigin(base({ ...at, object: valueNode(object) }, scope), object);
    }
    const key =
      at['computed'] === true
        ? evaluate(property, scope)
        : property.type === 'IntegerLiteral'
          ? integer(Number(property['value']))
          : text(name(property));
    const own = readMember(object, key, at['computed'] === true);
    return own === null
      ? base({ ...at, computed: true, object: valueNode(object), property: valueNode(key) }, scope)
      : keepOrigin(own, object);
  };

  const keepOrigin = (result: Value, source: Value): Value => {
    if (!isText(result) || !isText(source)) return result;
    return provenance.set(result, deriveTraces(result.value, source.value, provenance.of(source)));
  };

  const call = (at: Node, scope: Environment): Value => {
    const callee = node(at['callee']);
    if (
      callee.type === 'MemberExpression' &&
      node(callee['property']).type === 'Identifier' &&
      callee['computed'] !== true
    ) {
      const object = evaluate(node(callee['object']), scope);
      if (isMissing(object)) throw new Error(`${describe(node(callee['object']))} is undefined`);
      const args = argumentsOf(nodes(at['args']), scope);
      const result = callMethod(object, name(callee['property']), args);
      if (result !== null) {
        const sources = [object, ...args.positional];
        if (!isText(object)) return result;
        if (isText(result))
          return sources.slice(1).some((value) => tracesOf(value).length > 0 || isList(value))
            ? provenance.set(result, coverAll(result.value.length, sources.flatMap(origins)))
            : keepOrigin(result, object);
        if (isList(result)) for (const item of result.value) keepOrigin(item, object);
        return result;
      }
      return invoke(evaluate({ ...callee, object: valueNode(object) }, scope), args, scope);
    }
    return invoke(evaluate(callee, scope), argumentsOf(nodes(at['args']), scope), scope, describe(callee));
  };

  const invoke = (target: Value, args: Arguments, scope: Environment, label = 'the value'): Value => {
    if (!isCallable(target))
      throw new Error(isMissing(target) ? `${label} is undefined` : `'${typeName(target)}' object is not callable`);
    const own = callables.get(target);
    if (own !== undefined) return own(args);
    const keywords = [...args.keywords].map(([key, value]) => ({
      type: 'KeywordArgumentExpression',
      key: { type: 'Identifier', value: key },
      value: valueNode(value),
    }));
    return base(
      { type: 'CallExpression', callee: valueNode(target), args: [...args.positional.map(valueNode), ...keywords] },
      scope,
    );
  };

  const argumentsOf = (list: readonly Node[], scope: Environment): Arguments => {
    const positional: Value[] = [];
    const keywords = new Map<string, Value>();
    for (const argument of list) {
      if (argument.type === 'SpreadExpression')
        positional.push(...iterate(evaluate(node(argument['argument']), scope)));
      else if (argument.type === 'KeywordArgumentExpression')
        keywords.set(name(argument['key']), evaluate(node(argument['value']), scope));
      else if (argument.type === 'KeywordSpreadExpression') {
        const value = evaluate(node(argument['argument']), scope).value;
        if (value instanceof Map) for (const [key, item] of value) keywords.set(String(key), item as Value);
      } else positional.push(evaluate(argument, scope));
    }
    return { positional, keywords };
  };

  const applyFilter = (operand: Value, filter: Node, scope: Environment): Value => {
    const isCall = filter.type === 'CallExpression';
    const filterName = name(isCall ? filter['callee'] : filter);
    const own = Object.hasOwn(filters, filterName) ? filters[filterName] : undefined;
    if (own === undefined) return base({ type: 'FilterExpression', operand: valueNode(operand), filter }, scope);
    const result = own(
      operand,
      isCall ? argumentsOf(nodes(filter['args']), scope) : { positional: [], keywords: new Map() },
    );
    if (result === operand || !isText(result)) return result;
    return isText(operand)
      ? keepOrigin(result, operand)
      : provenance.set(result, coverAll(result.value.length, origins(operand)));
  };

  const applyTest = (at: Node, scope: Environment): Value => {
    const operand = evaluate(node(at['operand']), scope);
    const test = tests[name(at['test'])];
    if (test === undefined) return base({ ...at, operand: valueNode(operand) }, scope);
    return flag(test(operand, missing) !== (at['negate'] === true));
  };

  return (program) => evaluate(program, globals);
}
