import { createBuilder, type Builder } from './builder.js';
import { countCall, countSteps } from './bounds.js';
import type { Evaluation } from './evaluation.js';
import { applyBlockFilter, argumentsOf, evaluate, invoke } from './expressions.js';
import { loopVariable, type LoopState } from './loop-variable.js';
import { createMacro } from './macros.js';
import { coverAll } from './provenance.js';
import { Scope } from './scope.js';
import type { Expression, Loop, Parameter, Statement } from './syntax.js';
import { isText, iterate, missing, printed, required, text, truth, typeName, type Value } from './values.js';

/** Thrown by `break` and `continue`, and caught by the enclosing loop. */
class LoopControl extends Error {
  constructor(readonly kind: 'break' | 'continue') {
    super(`'${kind}' outside loop`);
  }
}

/** Runs statements and returns what they write, with its traces. */
export function capture(evaluation: Evaluation, body: readonly Statement[], scope: Scope): Value {
  const out = createBuilder();
  run(evaluation, body, scope, out);
  const { text: written, traces } = out.finish();
  return evaluation.provenance.set(text(written), traces);
}

function run(evaluation: Evaluation, body: readonly Statement[], scope: Scope, out: Builder): void {
  for (const statement of body) execute(evaluation, statement, scope, out);
}

function execute(evaluation: Evaluation, statement: Statement, scope: Scope, out: Builder): void {
  countSteps(1);
  switch (statement.kind) {
    case 'data':
      return out.append(statement.text, []);
    case 'output':
      return emit(evaluation, evaluate(evaluation, statement.expression, scope), out);
    case 'if': {
      const branch = statement.branches.find(({ test }) => truth(evaluate(evaluation, test, scope)));
      return run(evaluation, branch?.body ?? statement.otherwise, scope, out);
    }
    case 'for':
      return loop(evaluation, statement, evaluate(evaluation, statement.iterable, scope), scope, out, 1);
    case 'set':
      return assign(evaluation, statement.target, evaluate(evaluation, statement.value, scope), scope);
    case 'set-block': {
      const written = capture(evaluation, statement.body, new Scope(scope));
      const value =
        statement.filter === null ? written : applyBlockFilter(evaluation, written, statement.filter, scope);
      return assign(evaluation, statement.target, value, scope);
    }
    case 'with': {
      // The values are evaluated outside of the block.
      const values = statement.values.map((value) => evaluate(evaluation, value, scope));
      const inner = new Scope(scope);
      for (const [at, target] of statement.targets.entries()) assignTo(target, values[at] ?? missing, inner);
      return run(evaluation, statement.body, inner, out);
    }
    case 'macro':
      return scope.set(statement.name, macro(evaluation, statement.name, statement.parameters, statement.body, scope));
    case 'call-block': {
      const caller = macro(evaluation, null, statement.parameters, statement.body, scope);
      const target = evaluate(evaluation, statement.call.callee, scope);
      const args = argumentsOf(evaluation, statement.call.args, scope);
      const keywords = new Map([...args.keywords, ['caller', caller] as const]);
      return emit(evaluation, invoke(target, { ...args, keywords }), out);
    }
    case 'filter-block': {
      const written = capture(evaluation, statement.body, new Scope(scope));
      const filtered = applyBlockFilter(evaluation, written, statement.filter, scope);
      if (!isText(filtered)) throw new Error(`a filter block must write str, not ${typeName(filtered)}`);
      return emit(evaluation, filtered, out);
    }
    case 'block':
      if (statement.isRequired) throw new Error(`Required block '${statement.name}' not found`);
      return run(evaluation, statement.body, new Scope(statement.scoped ? scope : evaluation.root), out);
    case 'scope':
      return run(evaluation, statement.body, new Scope(scope), out);
    case 'generation': {
      const start = out.length();
      run(evaluation, statement.body, new Scope(scope), out);
      return out.trace({ start, end: out.length(), message: evaluation.position.message, kind: 'generation' });
    }
    case 'break':
    case 'continue':
      throw new LoopControl(statement.kind);
    case 'unsupported':
      throw new Error(statement.reason);
  }
}

/** Writes a value. */
function emit({ provenance }: Evaluation, value: Value, out: Builder): void {
  out.append(printed(value), provenance.ofPrinted(value));
}

function macro(
  evaluation: Evaluation,
  name: string | null,
  parameters: readonly Parameter[],
  body: readonly Statement[],
  scope: Scope,
): Value {
  return createMacro({
    name,
    parameters,
    body,
    open: () => new Scope(scope),
    evaluate: (expression, inner) => evaluate(evaluation, expression, inner),
    capture: (statements, inner) => countCall(() => capture(evaluation, statements, inner)),
  });
}

/** Runs the body of a loop for each item. The output of an iteration over a message gets a trace of that message. */
function loop(
  evaluation: Evaluation,
  statement: Loop,
  iterable: Value,
  scope: Scope,
  out: Builder,
  depth: number,
): void {
  const { messageOf, position } = evaluation;
  const items = itemsOf(evaluation, statement, iterable, scope);
  const outer = { ...position };
  const state: LoopState = {
    items,
    depth,
    changed: null,
    recurse: statement.recursive ? (inner, deeper) => again(evaluation, statement, inner, scope, deeper) : null,
  };
  try {
    for (const [index, item] of items.entries()) {
      const inner = bind(statement, item, scope);
      if (statement.usesLoop) inner.set('loop', loopVariable(state, index));
      const message = messageOf(item);
      position.message = message ?? outer.message;
      position.atMessage = message !== undefined;
      const start = out.length();
      const control = iteration(evaluation, statement.body, inner, out);
      if (position.message !== outer.message && position.message >= 0)
        out.trace({ start, end: out.length(), message: position.message, kind: 'turn' });
      if (control === 'break') break;
    }
  } finally {
    Object.assign(position, outer);
  }
  if (items.length === 0) run(evaluation, statement.otherwise, new Scope(scope), out);
}

/** Runs a recursive loop for inner items and returns what it writes. */
function again(evaluation: Evaluation, statement: Loop, items: Value, scope: Scope, depth: number): Value {
  const out = createBuilder();
  countCall(() => loop(evaluation, statement, items, scope, out, depth));
  const { text: written, traces } = out.finish();
  return evaluation.provenance.set(text(written), traces);
}

/** Returns the items of a loop that its condition selects. */
function itemsOf(evaluation: Evaluation, statement: Loop, source: Value, scope: Scope): readonly Value[] {
  const { provenance } = evaluation;
  const traces = provenance.of(source);
  const all = isText(source)
    ? iterate(source).map((item) => provenance.set(item, coverAll(printed(item).length, traces)))
    : iterate(source);
  countSteps(all.length);
  const { test } = statement;
  return test === null ? all : all.filter((item) => truth(evaluate(evaluation, test, bind(statement, item, scope))));
}

/** Creates the scope of an iteration, in which the loop variable has the item as its value. */
function bind(statement: Loop, item: Value, scope: Scope): Scope {
  const inner = new Scope(scope);
  assignTo(statement.target, item, inner);
  return inner;
}

/** Runs the body of a loop once. Returns how it ended, if a statement ended it. */
function iteration(
  evaluation: Evaluation,
  body: readonly Statement[],
  scope: Scope,
  out: Builder,
): 'break' | 'continue' | null {
  try {
    run(evaluation, body, scope, out);
    return null;
  } catch (thrown) {
    if (thrown instanceof LoopControl) return thrown.kind;
    throw thrown;
  }
}

function assign(evaluation: Evaluation, target: Expression, value: Value, scope: Scope): void {
  const { position } = evaluation;
  // `{% set message = messages[i] %}` in a loop over positions: the following output belongs to that message.
  const message = position.atMessage || target.kind !== 'name' ? undefined : evaluation.messageOf(value);
  if (message !== undefined) Object.assign(position, { message, atMessage: true });
  assignTo(target, value, scope);
}

/** Assigns a value to a variable, the items of a value to several variables, or a value to a member. */
function assignTo(target: Expression, value: Value, scope: Scope): void {
  if (target.kind === 'name') {
    scope.set(target.name, value);
  } else if (target.kind === 'tuple') {
    const items = iterate(required(value));
    if (items.length !== target.items.length)
      throw new Error(
        items.length > target.items.length
          ? `too many values to unpack (expected ${target.items.length})`
          : `not enough values to unpack (expected ${target.items.length}, got ${items.length})`,
      );
    for (const [i, item] of target.items.entries()) assignTo(item, items[i] ?? missing, scope);
  } else if (target.kind === 'member') {
    const space = scope.get(target.name);
    if (space?.type !== 'namespace')
      throw new Error(`cannot assign attribute on non-namespace object '${target.name}'`);
    if (target.key.startsWith('_'))
      throw new Error(`Chat templates cannot store underscore-prefixed attributes on a namespace: '${target.key}'`);
    space.value.set(target.key, value);
  }
}
