import { createBuilder, type Builder } from './builder.js';
import { countSteps, type Evaluation } from './evaluation.js';
import { applyFilter, argumentsOf, invoke } from './expressions.js';
import { iterate } from './filters.js';
import { scopeWithin, type Environment, type Node, type Value } from './library.js';
import { changeDetector, loopVariable } from './loop-variable.js';
import { createMacro } from './macros.js';
import { isMarker, LoopControl, matchingEnd, name, node, nodes, usesOfLoop, valueNode } from './nodes.js';
import { coverAll } from './provenance.js';
import { generationStart } from './source.js';
import { isText, missing, printed, text } from './values.js';

/** Runs statements and returns what they write, with its traces. */
export function capture(evaluation: Evaluation, body: readonly Node[], scope: Environment): Value {
  const out = createBuilder();
  run(evaluation, body, scope, out);
  const { text: written, traces } = out.finish();
  return evaluation.provenance.set(text(written), traces);
}

/** Runs statements one after another. What is between generation tags gets a trace. */
function run(evaluation: Evaluation, body: readonly Node[], scope: Environment, out: Builder): void {
  for (let i = 0; i < body.length; i++) {
    const statement = body[i];
    if (statement === undefined) continue;
    if (isMarker(statement, generationStart)) {
      const end = matchingEnd(body, i);
      const start = out.length();
      run(evaluation, body.slice(i + 1, end), scopeWithin(scope), out);
      out.trace({ start, end: out.length(), message: evaluation.position.message, kind: 'generation' });
      i = end;
    } else {
      execute(evaluation, statement, scope, out);
    }
  }
}

function execute(evaluation: Evaluation, statement: Node, scope: Environment, out: Builder): void {
  switch (statement.type) {
    case 'Comment':
      return;
    case 'If':
      return branch(evaluation, statement, scope, out);
    case 'For':
      return loop(evaluation, statement, scope, out);
    case 'Set':
      return assign(evaluation, statement, scope);
    case 'Macro':
      return defineMacro(evaluation, statement, scope);
    case 'CallStatement':
      return emit(evaluation, callWithBody(evaluation, statement, scope), out);
    case 'FilterStatement':
      return emit(evaluation, filterBody(evaluation, statement, scope), out);
    case 'Break':
      throw new LoopControl('break');
    case 'Continue':
      throw new LoopControl('continue');
    default:
      emit(evaluation, evaluation.evaluate(statement, scope), out);
  }
}

/** Writes a value. */
function emit({ provenance }: Evaluation, value: Value, out: Builder): void {
  out.append(printed(value), provenance.ofPrinted(value));
}

function branch(evaluation: Evaluation, statement: Node, scope: Environment, out: Builder): void {
  const isTrue = evaluation.evaluate(node(statement['test']), scope).__bool__().value;
  run(evaluation, nodes(isTrue ? statement['body'] : statement['alternate']), scope, out);
}

function defineMacro(evaluation: Evaluation, statement: Node, scope: Environment): void {
  const macroName = name(statement['name']);
  scope.setVariable(macroName, macro(evaluation, `macro '${macroName}'`, statement['args'], statement['body'], scope));
}

/** `{% call macro(…) %}…{% endcall %}`: calls a macro that gets the body as its function `caller`. */
function callWithBody(evaluation: Evaluation, statement: Node, scope: Environment): Value {
  const caller = macro(evaluation, 'macro None', statement['callerArgs'] ?? [], statement['body'], scope);
  const target = node(statement['call']);
  const args = argumentsOf(evaluation, nodes(target['args']), scope);
  return invoke(
    evaluation,
    evaluation.evaluate(node(target['callee']), scope),
    { ...args, keywords: new Map([...args.keywords, ['caller', caller]]) },
    scope,
  );
}

/** `{% filter name %}…{% endfilter %}`: applies a filter to what the body writes. */
function filterBody(evaluation: Evaluation, statement: Node, scope: Environment): Value {
  const written = capture(evaluation, nodes(statement['body']), scopeWithin(scope));
  return applyFilter(evaluation, written, node(statement['filter']), scope);
}

function macro(evaluation: Evaluation, label: string, parameters: unknown, body: unknown, scope: Environment): Value {
  return evaluation.callables.define(
    createMacro({
      label,
      parameters: nodes(parameters),
      body: nodes(body),
      scope,
      evaluate: evaluation.evaluate,
      capture: (statements, inner) => capture(evaluation, statements, inner),
    }),
  );
}

/** Runs the body of a loop for each item. The output of an iteration over a message gets a trace of that message. */
function loop(evaluation: Evaluation, statement: Node, scope: Environment, out: Builder): void {
  const { callables, messageOf, position } = evaluation;
  const items = itemsOf(evaluation, statement, scope);
  const loopUses = usesOfLoop(statement);
  const outer = { ...position };
  const changed = changeDetector(callables);
  try {
    for (const [index, item] of items.entries()) {
      const inner = bind(evaluation, statement, item, scope);
      if (loopUses === 'all' || loopUses.size > 0)
        inner.setVariable('loop', loopVariable({ items, index, changed, callables }, loopUses));
      const message = messageOf(item);
      position.message = message ?? outer.message;
      position.atMessage = message !== undefined;
      const start = out.length();
      const control = iteration(evaluation, nodes(statement['body']), inner, out);
      if (position.message !== outer.message && position.message >= 0)
        out.trace({ start, end: out.length(), message: position.message, kind: 'turn' });
      if (control === 'break') break;
    }
  } finally {
    Object.assign(position, outer);
  }
  if (items.length === 0) run(evaluation, nodes(statement['defaultBlock']), scope, out);
}

/** Returns the items of a loop that its condition selects. */
function itemsOf(evaluation: Evaluation, statement: Node, scope: Environment): readonly Value[] {
  const { evaluate, provenance } = evaluation;
  const iterable = node(statement['iterable']);
  const filter = iterable.type === 'SelectExpression' ? node(iterable['test']) : null;
  const source = evaluate(filter === null ? iterable : node(iterable['lhs']), scope);
  const traces = provenance.of(source);
  const all = isText(source)
    ? iterate(source).map((item) => provenance.set(item, coverAll(printed(item).length, traces)))
    : iterate(source);
  countSteps(evaluation, all.length);
  return filter === null
    ? all
    : all.filter((item) => evaluate(filter, bind(evaluation, statement, item, scope)).__bool__().value);
}

/** Creates the scope of an iteration, in which the loop variable has the item as its value. */
function bind(evaluation: Evaluation, statement: Node, item: Value, scope: Environment): Environment {
  const inner = scopeWithin(scope);
  assignTo(evaluation, node(statement['loopvar']), item, inner);
  return inner;
}

/** Runs the body of a loop once. Returns how it ended, if a statement ended it. */
function iteration(
  evaluation: Evaluation,
  body: readonly Node[],
  scope: Environment,
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

function assign(evaluation: Evaluation, statement: Node, scope: Environment): void {
  const { position } = evaluation;
  const value =
    statement['value'] === null
      ? capture(evaluation, nodes(statement['body']), scopeWithin(scope))
      : evaluation.evaluate(node(statement['value']), scope);
  const target = node(statement['assignee']);
  // `{% set message = messages[i] %}` in a loop over positions: the following output belongs to that message.
  const message = position.atMessage || target.type !== 'Identifier' ? undefined : evaluation.messageOf(value);
  if (message !== undefined) Object.assign(position, { message, atMessage: true });
  assignTo(evaluation, target, value, scope);
}

/** Assigns a value to a variable, the items of a value to several variables, or a value to a member. */
function assignTo(evaluation: Evaluation, target: Node, value: Value, scope: Environment): void {
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
    for (const [i, item] of targets.entries()) assignTo(evaluation, item, items[i] ?? missing, scope);
  } else {
    evaluation.evaluateByLibrary({ type: 'Set', assignee: target, value: valueNode(value), body: [] }, scope);
  }
}
