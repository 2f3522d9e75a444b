import { scopeWithin, type Environment, type Node, type Value } from './library.js';
import { namesVariable } from './nodes.js';
import type { Arguments } from './text-methods.js';
import { callable, list, mapping, missing } from './values.js';

export type Native = (args: Arguments) => Value;

/** Functions that the evaluator calls instead of the library: macros and globals. */
export interface Callables {
  define(native: Native): Value;
  get(value: Value): Native | undefined;
}

/** Creates a registry of functions. @param known Functions to look up in addition. */
export function createCallables(known?: Callables): Callables {
  const natives = new WeakMap<Value, Native>();
  return {
    define(native) {
      const value = callable(() => missing);
      natives.set(value, native);
      return value;
    },
    get: (value) => natives.get(value) ?? known?.get(value),
  };
}

export interface MacroDefinition {
  readonly label: string;
  readonly parameters: readonly Node[];
  readonly body: readonly Node[];
  /** The scope in which the macro was defined. */
  readonly scope: Environment;
  evaluate(node: Node | undefined, scope: Environment): Value;
  capture(body: readonly Node[], scope: Environment): Value;
}

/** Creates a macro, which binds its arguments as Jinja does, including `varargs`, `kwargs` and `caller`. */
export function createMacro({ label, parameters, body, scope, evaluate, capture }: MacroDefinition): Native {
  const [takesRest, takesKeywords] = [namesVariable(body, 'varargs'), namesVariable(body, 'kwargs')];
  return ({ positional, keywords }) => {
    const inner = scopeWithin(scope);
    const rest = new Map(keywords);
    for (const [index, parameter] of parameters.entries()) {
      const isDefault = parameter.type === 'KeywordArgumentExpression';
      const key = String(((isDefault ? parameter['key'] : parameter) as { readonly value: unknown }).value);
      const value = positional[index] ?? rest.get(key);
      rest.delete(key);
      inner.setVariable(key, value ?? (isDefault ? evaluate(parameter['value'] as Node, inner) : missing));
    }
    const caller = rest.get('caller');
    if (caller !== undefined) {
      inner.setVariable('caller', caller);
      rest.delete('caller');
    }
    if (takesRest) inner.setVariable('varargs', list(positional.slice(parameters.length)));
    else if (positional.length > parameters.length)
      throw new Error(`${label} takes not more than ${parameters.length} argument(s)`);
    if (takesKeywords) inner.setVariable('kwargs', mapping(rest));
    else for (const key of rest.keys()) throw new Error(`${label} takes no keyword argument '${key}'`);
    return capture(body, inner);
  };
}
