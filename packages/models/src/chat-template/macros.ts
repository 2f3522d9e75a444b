import type { Scope } from './scope.js';
import { refersTo, type Expression, type Parameter, type Statement } from './syntax.js';
import {
  dictionary,
  flag,
  none as noneValue,
  text,
  tuple,
  undefinedValue,
  type FunctionValue,
  type Value,
} from './values.js';

interface MacroDefinition {
  readonly name: string | null;
  readonly parameters: readonly Parameter[];
  readonly body: readonly Statement[];
  /** Creates the scope of a call. */
  open(): Scope;
  evaluate(expression: Expression, scope: Scope): Value;
  capture(body: readonly Statement[], scope: Scope): Value;
}

/** Creates a macro, which binds its arguments as Jinja does, including `varargs`, `kwargs` and `caller`. */
export function createMacro(definition: MacroDefinition): FunctionValue {
  const { name, parameters, body } = definition;
  const label = `macro ${name === null ? 'None' : `'${name}'`}`;
  const takesRest = refersTo(body, 'varargs');
  const takesKeywords = refersTo(body, 'kwargs');
  const takesCaller = refersTo(body, 'caller') || parameters.some((parameter) => parameter.name === 'caller');
  return {
    type: 'function',
    label: name ?? '',
    attributes: new Map<string, Value>([
      ['name', name === null ? noneValue : text(name)],
      ['arguments', tuple(parameters.map((parameter) => text(parameter.name)))],
      ['catch_varargs', flag(takesRest)],
      ['catch_kwargs', flag(takesKeywords)],
      ['caller', flag(takesCaller)],
    ]),
    value: ({ positional, keywords }) => {
      const inner = definition.open();
      const rest = new Map(keywords);
      for (const [index, parameter] of parameters.entries()) {
        const given = positional[index] ?? rest.get(parameter.name);
        if (positional[index] === undefined) rest.delete(parameter.name);
        inner.set(parameter.name, given ?? byDefault(definition, parameter, inner));
      }
      if (takesCaller && !parameters.some((parameter) => parameter.name === 'caller')) {
        inner.set('caller', rest.get('caller') ?? undefinedValue('No caller defined'));
        rest.delete('caller');
      }
      if (takesKeywords) inner.set('kwargs', dictionary([...rest].map(([key, value]) => [text(key), value] as const)));
      else {
        if (rest.has('caller'))
          throw new Error(`${label} was invoked with two values for the special caller argument, or takes no caller`);
        for (const key of rest.keys()) throw new Error(`${label} takes no keyword argument '${key}'`);
      }
      if (takesRest) inner.set('varargs', tuple(positional.slice(parameters.length)));
      else if (positional.length > parameters.length)
        throw new Error(`${label} takes not more than ${parameters.length} argument(s)`);
      return definition.capture(body, inner);
    },
  };
}

function byDefault(definition: MacroDefinition, { name, byDefault: expression }: Parameter, scope: Scope): Value {
  return expression === null
    ? undefinedValue(`parameter '${name}' was not provided`)
    : definition.evaluate(expression, scope);
}
