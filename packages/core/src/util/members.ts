import { didYouMean, nearest } from './did-you-mean.js';

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

/** A member that an object should not have. */
export interface UnknownMember {
  readonly name: string;
  /** A suggestion, or the names of all members. */
  readonly hint: string;
}

/**
 * Returns the members of an object that are not known. Every key of a plain object has a meaning; an instance of a
 * class may have further members, unless they are functions with a name that is similar to a known one.
 */
export function unknownMembers(value: object, known: readonly string[]): readonly UnknownMember[] {
  const { names, isPlain } = membersOf(value);
  return names
    .filter((name) => !known.includes(name))
    .filter(
      (name) =>
        isPlain ||
        (typeof (value as Record<string, unknown>)[name] === 'function' && nearest(name, known) !== undefined),
    )
    .map((name) => ({ name, hint: didYouMean(name, known) ?? `Known keys: ${known.join(', ')}.` }));
}

/**
 * Returns the members of an object that are similar to a known one that it lacks, for objects that may have members of
 * their own.
 */
export function misspelledMembers(value: object, known: readonly string[]): readonly UnknownMember[] {
  const { names } = membersOf(value);
  const missing = known.filter((name) => !names.includes(name));
  return names.flatMap((name) => {
    const hint = known.includes(name) ? undefined : didYouMean(name, missing);
    return hint === undefined ? [] : [{ name, hint }];
  });
}
