/** Returns whether a value is an array or a plain object without functions, and not an instance of a class. */
function isData(value: object): boolean {
  if (Array.isArray(value)) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  return (
    (prototype === Object.prototype || prototype === null) &&
    Object.values(Object.getOwnPropertyDescriptors(value)).every((each) => typeof each.value !== 'function')
  );
}

/**
 * Freezes data and everything in it, and returns it. Several receivers can share it: none can change what the others
 * see. Instances of classes, objects with methods, and typed arrays are left as they are.
 */
export function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value) || !isData(value)) return value;
  Object.freeze(value);
  for (const inner of Object.values(value)) frozen(inner);
  return value;
}
