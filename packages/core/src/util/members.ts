/** The names of the members of an object. */
export interface MemberNames {
  /** All names: own keys, and methods of its class. */
  readonly names: readonly string[];
  /** Whether the object is no instance of a class: all of its keys then have a meaning. */
  readonly isPlain: boolean;
}

/** Returns the names of an object's own keys and of the methods of its class. */
export function membersOf(value: object): MemberNames {
  const inherited: string[] = [];
  for (
    let prototype: unknown = Object.getPrototypeOf(value);
    typeof prototype === 'object' && prototype !== null && prototype !== Object.prototype;
    prototype = Object.getPrototypeOf(prototype)
  ) {
    inherited.push(...Object.getOwnPropertyNames(prototype).filter((name) => name !== 'constructor'));
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  return {
    names: [...new Set([...Object.keys(value), ...inherited])],
    isPlain: inherited.length === 0 && (prototype === Object.prototype || prototype === null),
  };
}
