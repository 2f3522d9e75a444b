import { bigintOf, isNone, isText, printed, required, truth, typeName, type Arguments, type Value } from './values.js';

/** The arguments of a call by the names of its parameters. */
export interface Bound {
  readonly get: (name: string) => Value | undefined;
  /** Returns a required argument. */
  readonly need: (name: string) => Value;
  /** Returns whether an argument is given and true. */
  readonly isTrue: (name: string, byDefault?: boolean) => boolean;
  /** Returns an integer, or `byDefault` if the argument is absent or none. */
  readonly integer: (name: string, byDefault: number) => number;
  /** Returns the text of an argument that must be text, or null if it is absent or none. */
  readonly text: (name: string) => string | null;
}

/** Returns the integer of a value. @throws an error if it is none. */
export function integerOf(value: Value): number {
  required(value);
  if (value.type !== 'int' && value.type !== 'bool')
    throw new Error(`'${typeName(value)}' object cannot be interpreted as an integer`);
  return Number(bigintOf(value));
}

/**
 * Assigns arguments to parameters.
 *
 * @throws an error if there are too many arguments, or one has an unknown name
 */
export function bind(label: string, { positional, keywords }: Arguments, ...names: readonly string[]): Bound {
  if (positional.length > names.length)
    throw new Error(`${label} takes at most ${names.length} argument(s) (${positional.length} given)`);
  for (const key of keywords.keys()) {
    const at = names.indexOf(key);
    if (at === -1) throw new Error(`${label} got an unexpected keyword argument '${key}'`);
    if (at < positional.length) throw new Error(`${label} got multiple values for argument '${key}'`);
  }
  const get = (name: string): Value | undefined => positional[names.indexOf(name)] ?? keywords.get(name);
  const need = (name: string): Value => {
    const value = get(name);
    if (value === undefined) throw new Error(`${label} missing the required argument '${name}'`);
    return value;
  };
  return {
    get,
    need,
    isTrue: (name, byDefault = false) => {
      const value = get(name);
      return value === undefined ? byDefault : truth(value);
    },
    integer: (name, byDefault) => {
      const value = get(name);
      return value === undefined || isNone(value) ? byDefault : integerOf(value);
    },
    text: (name) => {
      const value = get(name);
      if (value === undefined || isNone(value)) return null;
      if (!isText(value))
        throw new Error(`the argument '${name}' of ${label} must be str, not ${typeName(required(value))}`);
      return printed(value);
    },
  };
}
