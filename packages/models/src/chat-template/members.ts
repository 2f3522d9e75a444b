import type { Value } from './library.js';
import { listMethods, textMethods, type Arguments } from './text-methods.js';
import {
  isList,
  isMapping,
  isMissing,
  isNumber,
  isText,
  list,
  missing,
  none,
  text,
  tuple,
  typeName,
} from './values.js';

type MappingMethod = (self: ReadonlyMap<string, Value>, args: Arguments) => Value;

const mappingMethods: Readonly<Record<string, MappingMethod>> = {
  items: (self) => list([...self].map(([key, value]) => tuple([text(key), value]))),
  keys: (self) => list([...self.keys()].map(text)),
  values: (self) => list([...self.values()]),
  get: (self, { positional }) => {
    const [key, fallback] = positional;
    return (key !== undefined && isText(key) ? self.get(key.value) : undefined) ?? fallback ?? none;
  },
};

/** Calls a method of Python's str, list or dict; returns null if the evaluator does not implement it. */
export function callMethod(object: Value, method: string, args: Arguments): Value | null {
  if (isText(object))
    return Object.hasOwn(textMethods, method)
      ? (textMethods[method]?.(object.value, args) ?? null)
      : noMethod(object, method);
  if (isList(object))
    return Object.hasOwn(listMethods, method)
      ? (listMethods[method]?.(object.value, args) ?? null)
      : noMethod(object, method);
  if (isMapping(object) && Object.hasOwn(mappingMethods, method))
    return mappingMethods[method]?.(object.value, args) ?? null;
  return null;
}

function noMethod(object: Value, method: string): never {
  throw new Error(`'${typeName(object)} object' has no attribute '${method}'`);
}

/** Reads `object.key` or `object[key]`; returns null if the library must read it. */
export function readMember(object: Value, key: Value, computed: boolean): Value | null {
  if (isMapping(object)) {
    if (!isText(key)) return missing;
    // Methods of Python's dict have priority over keys.
    if (!computed && Object.hasOwn(mappingMethods, key.value)) return null;
    return object.value.get(key.value) ?? missing;
  }
  if (isList(object) && isNumber(key)) return object.value.at(key.value) ?? missing;
  if (isText(object) && isNumber(key)) {
    const character = Array.from(object.value).at(key.value);
    return character === undefined ? missing : text(character);
  }
  if (isList(object) || isText(object)) {
    // The library returns its own method, so that tests such as `content.split is defined` are true.
    const methods = isText(object) ? textMethods : listMethods;
    return isText(key) && Object.hasOwn(methods, key.value) ? null : missing;
  }
  return isMissing(object) ? missing : null;
}
