/**
 * Parsed templates, part by part. Which parts a node has depends on its type; the library's own types say too little.
 */
import type { Node, Value } from './library.js';
import { generationEnd, generationStart } from './source.js';

export const nodes = (value: unknown): readonly Node[] => value as readonly Node[];
export const node = (value: unknown): Node => value as Node;
export const name = (value: unknown): string => String((value as { readonly value: unknown }).value);

/** A value already at hand, as a node: what the library is to compute with. */
export const held = (value: Value): Node => ({ type: 'Held', held: value });

/** Whether a variable is named anywhere in parsed statements. */
export function namesVariable(part: unknown, variable: string): boolean {
  if (Array.isArray(part)) return part.some((item) => namesVariable(item, variable));
  if (part instanceof Map) return [...part].some((entry) => namesVariable(entry, variable));
  if (typeof part !== 'object' || part === null) return false;
  const { type, value } = part as Partial<Node>;
  return (
    (type === 'Identifier' && value === variable) || Object.values(part).some((item) => namesVariable(item, variable))
  );
}

const loopUses = new WeakMap<Node, ReadonlySet<string> | 'all'>();

/** Members of `loop` that parsed statements name; `all` where they use it in another way than `loop.member`. */
function membersOfLoop(part: unknown, found: Set<string>): boolean {
  if (Array.isArray(part)) return part.every((item) => membersOfLoop(item, found));
  if (part instanceof Map) return [...part].every((entry) => membersOfLoop(entry, found));
  if (typeof part !== 'object' || part === null) return true;
  const { type, value } = part as Partial<Node>;
  if (type === 'Identifier') return value !== 'loop';
  if (type === 'MemberExpression') {
    const { object, property, computed } = part as Node & { readonly object: Node; readonly property: Node };
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
  return Object.values(part).every((item) => membersOfLoop(item, found));
}

/** What of `loop` a loop's body names: making the rest for nothing is what most loops would spend their time on. */
export function usesOfLoop(statement: Node): ReadonlySet<string> | 'all' {
  let uses = loopUses.get(statement);
  if (uses === undefined) {
    const found = new Set<string>();
    uses = membersOfLoop([statement['body'], statement['defaultBlock']], found) ? found : 'all';
    loopUses.set(statement, uses);
  }
  return uses;
}

/** Whether a statement is one of the marks that stand for generation tags. */
export function isMarker(statement: Node, marker: string): boolean {
  return (
    statement.type === 'Set' &&
    node(statement['assignee']).type === 'Identifier' &&
    name(statement['assignee']) === marker
  );
}

/** The mark that closes the one at `start`, in the same block. */
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

/** How an expression reads, for messages: `message.content`. */
export function describe(at: Node): string {
  if (at.type === 'Identifier') return `'${name(at)}'`;
  if (at.type === 'MemberExpression' && node(at['property']).type === 'Identifier')
    return `'${describe(node(at['object'])).replaceAll("'", '')}.${name(at['property'])}'`;
  return 'the value';
}

/** Thrown by `break` and `continue`, caught by the loop around them. */
export class LoopControl extends Error {
  constructor(readonly kind: 'break' | 'continue') {
    super(`${kind} outside of a loop`);
  }
}
