/** Access to the fields of parsed templates. They depend on the type of a node and are untyped in the library. */
import type { Node, Value } from './library.js';
import { generationEnd, generationStart } from './source.js';

export const nodes = (value: unknown): readonly Node[] => value as readonly Node[];
export const node = (value: unknown): Node => value as Node;
export const name = (value: unknown): string => String((value as { readonly value: unknown }).value);

/** Wraps a computed value in a node, so that the library can compute with it. */
export const valueNode = (value: Value): Node => ({ type: 'ComputedValue', value });

/** Returns whether parsed statements refer to a variable. */
export function namesVariable(field: unknown, variable: string): boolean {
  if (Array.isArray(field)) return field.some((item) => namesVariable(item, variable));
  if (field instanceof Map) return [...field].some((entry) => namesVariable(entry, variable));
  if (typeof field !== 'object' || field === null) return false;
  const { type, value } = field as Partial<Node>;
  return (
    (type === 'Identifier' && value === variable) || Object.values(field).some((item) => namesVariable(item, variable))
  );
}

const loopUses = new WeakMap<Node, ReadonlySet<string> | 'all'>();

/** Adds the members of `loop` that statements use to `found`; returns false if they use `loop` in any other way. */
function membersOfLoop(field: unknown, found: Set<string>): boolean {
  if (Array.isArray(field)) return field.every((item) => membersOfLoop(item, found));
  if (field instanceof Map) return [...field].every((entry) => membersOfLoop(entry, found));
  if (typeof field !== 'object' || field === null) return true;
  const { type, value } = field as Partial<Node>;
  if (type === 'Identifier') return value !== 'loop';
  if (type === 'MemberExpression') {
    const { object, property, computed } = field as Node & { readonly object: Node; readonly property: Node };
    if (
      object.type === 'Identifier' &&
      name(object) === 'loop' &&
      computed !== true &&
      property.type === 'Identifier'
    ) {
      found.add(name(property));
      return true;
    }
  }
  return Object.values(field).every((item) => membersOfLoop(item, found));
}

/** Returns the members of `loop` that the body of a loop uses; `all` if that is unknown. */
export function usesOfLoop(statement: Node): ReadonlySet<string> | 'all' {
  let uses = loopUses.get(statement);
  if (uses === undefined) {
    const found = new Set<string>();
    uses = membersOfLoop([statement['body'], statement['defaultBlock']], found) ? found : 'all';
    loopUses.set(statement, uses);
  }
  return uses;
}

/** Returns whether a statement is a marker of a generation tag. */
export function isMarker(statement: Node, marker: string): boolean {
  return (
    statement.type === 'Set' &&
    node(statement['assignee']).type === 'Identifier' &&
    name(statement['assignee']) === marker
  );
}

/** Returns the index of the marker that closes the one at `start`, in the same block. */
export function matchingEnd(body: readonly Node[], start: number): number {
  let depth = 0;
  for (let i = start; i < body.length; i++) {
    const statement = body[i];
    if (statement === undefined) continue;
    if (isMarker(statement, generationStart)) depth++;
    if (isMarker(statement, generationEnd) && --depth === 0) return i;
  }
  throw new Error('a generation tag is not closed within its block');
}

/** Formats an expression for error messages, such as `message.content`. */
export function describe(at: Node): string {
  if (at.type === 'Identifier') return `'${name(at)}'`;
  if (at.type === 'MemberExpression' && node(at['property']).type === 'Identifier')
    return `'${describe(node(at['object'])).replaceAll("'", '')}.${name(at['property'])}'`;
  return 'the value';
}

/** Thrown by `break` and `continue`, and caught by the enclosing loop. */
export class LoopControl extends Error {
  constructor(readonly kind: 'break' | 'continue') {
    super(`${kind} outside of a loop`);
  }
}
