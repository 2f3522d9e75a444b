import * as jinja from '@huggingface/jinja';

/**
 * Types of the exports of `@huggingface/jinja` that are used here. Its own declarations import files without
 * extensions, which TypeScript does not resolve for ES modules under Node.
 */
interface Library {
  tokenize(source: string, options: { readonly lstrip_blocks: boolean; readonly trim_blocks: boolean }): Token[];
  parse(tokens: Token[]): Node;
  readonly Environment: new (parent?: Environment) => Environment;
  readonly Interpreter: new (environment: Environment) => Interpreter;
}

interface Token {
  readonly value: string;
  readonly type: string;
}

/** A node of a parsed template; its fields depend on its type. */
export interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}

export interface Environment {
  /** Converts plain data to a runtime value and declares it as a variable. */
  set(name: string, value: unknown): Value;
  setVariable(name: string, value: Value): Value;
  lookupVariable(name: string): Value;
}

interface Interpreter {
  evaluate(node: Node | undefined, environment: Environment): Value;
}

/** A runtime value of a template. */
export interface Value {
  readonly type: string;
  readonly value: unknown;
  __bool__(): { readonly value: boolean };
  toString(): string;
}

export const library = jinja as unknown as Library;

interface ScopeFields {
  parent: Environment;
  variables: Map<string, Value>;
  tests: unknown;
}

function Scope(this: ScopeFields, parent: Environment & { readonly tests?: unknown }): void {
  this.parent = parent;
  this.variables = new Map();
  this.tests = parent.tests;
}
Scope.prototype = jinja.Environment.prototype as object;

/**
 * Creates a nested scope. The library's constructor would declare all built-in functions again in each scope; here they
 * are declared only in the outermost.
 */
export const scopeWithin = (parent: Environment): Environment =>
  new (Scope as unknown as new (parent: Environment) => Environment)(parent);
