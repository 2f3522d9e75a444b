import { countSteps, type Evaluation, type EvaluationContext } from './evaluation.js';
import { applyFilter, applyTest, evaluateBinary, evaluateCall, evaluateMember } from './expressions.js';
import { library, type Environment, type Node, type Value } from './library.js';
import { name, node, nodes } from './nodes.js';
import { capture } from './statements.js';
import { text } from './values.js';

/**
 * Creates an evaluator of parsed templates. It evaluates blocks, loops and macros (`statements.ts`), and operators,
 * methods and filters (`expressions.ts`) itself, because they must follow Python's rules and track which message each
 * text came from. The library evaluates the rest.
 */
export function createEvaluator(context: EvaluationContext, globals: Environment): (program: Node) => Value {
  const interpreter = new library.Interpreter(globals);
  const evaluation: Evaluation = {
    ...context,
    evaluate: (at, scope) => evaluateNode(evaluation, at, scope),
    evaluateByLibrary: interpreter.evaluate.bind(interpreter),
    steps: 0,
    position: { message: -1, atMessage: true },
  };
  // What the library evaluates contains nodes that it must not evaluate by its own rules.
  interpreter.evaluate = evaluation.evaluate;
  return (program) => evaluation.evaluate(program, globals);
}

/** Evaluates a node by the rules of this folder, if there is one for its type. */
function evaluateNode(evaluation: Evaluation, at: Node | undefined, scope: Environment): Value {
  countSteps(evaluation, 1);
  switch (at?.type) {
    case 'ComputedValue':
      return at['value'] as Value;
    case 'Program':
      return capture(evaluation, nodes(at['body']), scope);
    case 'StringLiteral':
      return text(String(at['value']));
    case 'Identifier':
      return scope.lookupVariable(name(at));
    case 'BinaryExpression':
      return evaluateBinary(evaluation, at, scope);
    case 'MemberExpression':
      return evaluateMember(evaluation, at, scope);
    case 'CallExpression':
      return evaluateCall(evaluation, at, scope);
    case 'FilterExpression':
      return applyFilter(evaluation, evaluation.evaluate(node(at['operand']), scope), node(at['filter']), scope);
    case 'TestExpression':
      return applyTest(evaluation, at, scope);
    default:
      return evaluation.evaluateByLibrary(at, scope);
  }
}
