/** The syntax tree of a template. */
import type { Value } from './values.js';

/** Arguments of a call, filter or test. */
export interface ArgumentNodes {
  readonly positional: readonly Expression[];
  readonly keywords: readonly (readonly [string, Expression])[];
  /** `*args` */
  readonly rest: Expression | null;
  /** `**kwargs` */
  readonly restKeywords: Expression | null;
}

export type BinaryOperator = '+' | '-' | '*' | '/' | '//' | '%' | '**';
export type ComparisonOperator = '==' | '!=' | '<' | '<=' | '>' | '>=' | 'in' | 'not in';

export type Call = {
  readonly kind: 'call';
  readonly callee: Expression;
  readonly args: ArgumentNodes;
};
export type Filter = {
  readonly kind: 'filter';
  /** Null in filter blocks, whose operand is the text of the block. */
  readonly operand: Expression | null;
  readonly name: string;
  readonly args: ArgumentNodes;
};
export type Expression =
  | { readonly kind: 'constant'; readonly value: Value }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'member'; readonly name: string; readonly key: string }
  | { readonly kind: 'tuple' | 'list' | 'concat'; readonly items: readonly Expression[] }
  | { readonly kind: 'dict'; readonly pairs: readonly (readonly [Expression, Expression])[] }
  | {
      readonly kind: 'binary';
      readonly operator: BinaryOperator;
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly kind: 'and' | 'or'; readonly left: Expression; readonly right: Expression }
  | { readonly kind: 'not' | 'negative' | 'positive'; readonly operand: Expression }
  | {
      readonly kind: 'compare';
      readonly first: Expression;
      readonly rest: readonly { readonly operator: ComparisonOperator; readonly operand: Expression }[];
    }
  | {
      readonly kind: 'condition';
      readonly test: Expression;
      readonly value: Expression;
      readonly otherwise: Expression | null;
    }
  | { readonly kind: 'attribute'; readonly object: Expression; readonly name: string }
  | { readonly kind: 'item'; readonly object: Expression; readonly key: Expression }
  | {
      readonly kind: 'slice';
      readonly start: Expression | null;
      readonly stop: Expression | null;
      readonly step: Expression | null;
    }
  | Call
  | Filter
  | {
      readonly kind: 'test';
      readonly operand: Expression;
      readonly name: string;
      readonly args: ArgumentNodes;
    };

export interface Parameter {
  readonly name: string;
  readonly byDefault: Expression | null;
}

export type Loop = {
  readonly kind: 'for';
  readonly target: Expression;
  readonly iterable: Expression;
  readonly test: Expression | null;
  readonly recursive: boolean;
  readonly body: readonly Statement[];
  readonly otherwise: readonly Statement[];
  /** Whether the body refers to `loop`. */
  readonly usesLoop: boolean;
};
export type Statement =
  | { readonly kind: 'data'; readonly text: string }
  | { readonly kind: 'output'; readonly expression: Expression }
  | {
      readonly kind: 'if';
      readonly branches: readonly { readonly test: Expression; readonly body: readonly Statement[] }[];
      readonly otherwise: readonly Statement[];
    }
  | Loop
  | { readonly kind: 'set'; readonly target: Expression; readonly value: Expression }
  | {
      readonly kind: 'set-block';
      readonly target: Expression;
      readonly filter: Filter | null;
      readonly body: readonly Statement[];
    }
  | {
      readonly kind: 'with';
      readonly targets: readonly Expression[];
      readonly values: readonly Expression[];
      readonly body: readonly Statement[];
    }
  | {
      readonly kind: 'macro';
      readonly name: string;
      readonly parameters: readonly Parameter[];
      readonly body: readonly Statement[];
    }
  | {
      readonly kind: 'call-block';
      readonly parameters: readonly Parameter[];
      readonly call: Call;
      readonly body: readonly Statement[];
    }
  | { readonly kind: 'filter-block'; readonly filter: Filter; readonly body: readonly Statement[] }
  | {
      readonly kind: 'block';
      readonly name: string;
      readonly scoped: boolean;
      readonly isRequired: boolean;
      readonly body: readonly Statement[];
    }
  | { readonly kind: 'generation' | 'scope'; readonly body: readonly Statement[] }
  | { readonly kind: 'break' | 'continue' }
  | { readonly kind: 'unsupported'; readonly reason: string };

export interface Template {
  readonly body: readonly Statement[];
  readonly blocks: ReadonlyMap<string, Statement & { readonly kind: 'block' }>;
  /** Whether the template has generation tags. */
  readonly tagged: boolean;
}

/** A syntax error with its line. */
export class SyntaxProblem extends Error {
  constructor(
    message: string,
    readonly line: number,
  ) {
    super(message);
  }
}

const references = new WeakMap<object, Map<string, boolean>>();

/** Returns whether the body of a macro or loop refers to a variable. It is searched once for each variable. */
export function refersTo(body: object, variable: string): boolean {
  const known = references.get(body) ?? new Map<string, boolean>();
  references.set(body, known);
  const found = known.get(variable) ?? contains(body, variable);
  known.set(variable, found);
  return found;
}

function contains(part: unknown, variable: string): boolean {
  if (Array.isArray(part)) return part.some((item) => contains(item, variable));
  if (typeof part !== 'object' || part === null) return false;
  const { kind, name } = part as { readonly kind?: unknown; readonly name?: unknown };
  if (kind === 'constant') return false;
  return (kind === 'name' && name === variable) || Object.values(part).some((item) => contains(item, variable));
}

/** Formats an expression for error messages, such as `message.content`. */
export function describe(at: Expression): string {
  if (at.kind === 'name') return `'${at.name}'`;
  if (at.kind === 'attribute') return `'${describe(at.object).replaceAll("'", '')}.${at.name}'`;
  return 'the value';
}
