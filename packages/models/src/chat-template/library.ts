import * as jinja from '@huggingface/jinja';

/**
 * The parts of `@huggingface/jinja` that are used here, typed: its own declarations name files without their endings,
 * which TypeScript does not follow for ES modules under Node.
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

/** A node of the parsed template; which parts it has depends on its type. */
export interface Node {
  readonly type: string;
  readonly [part: string]: unknown;
}

export interface Environment {
  /** Declares a variable, turning plain data into a runtime value. */
  set(name: string, value: unknown): Value;
  setVariable(name: string, value: Value): Value;
  lookupVariable(name: string): Value;
}

interface Interpreter {
  evaluate(node: Node | undefined, environment: Environment): Value;
}

/** A value while a template runs. */
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
 * A scope within another one. The library's own constructor declares its built-in functions again in each; they are
 * found in the outermost.
 */
export const scopeWithin = (parent: Environment): Environment =>
  new (Scope as unknown as new (parent: Environment) => Environment)(parent);
