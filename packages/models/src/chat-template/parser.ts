import { exceeded, MAX_NESTING } from './bounds.js';
import { tokenize, type Token } from './lexer.js';
import {
  refersTo,
  SyntaxProblem,
  type ArgumentNodes,
  type BinaryOperator,
  type ComparisonOperator,
  type Expression,
  type Filter,
  type Parameter,
  type Statement,
  type Template,
} from './syntax.js';
import { flag, float, integer, none, text } from './values.js';

/**
 * Parses a template by the grammar of Jinja 3.1, with transformers' settings and extensions: `break`, `continue` and
 * `{% generation %}`.
 *
 * @throws an error with the line of the mistake (`SyntaxProblem`)
 */
export function parseTemplate(source: string): Template {
  const parser = new Parser(tokenize(source));
  const body = parser.statements(null);
  return { body, blocks: parser.blocks, tagged: parser.tagged };
}

const COMPARISONS = new Set(['==', '!=', '<', '<=', '>', '>=']);
const noArguments: ArgumentNodes = { positional: [], keywords: [], rest: null, restKeywords: null };
/** Names that begin an argument of a test without parentheses, except for these. */
const NOT_ARGUMENTS = new Set(['else', 'or', 'and']);

class Parser {
  readonly blocks = new Map<string, Statement & { readonly kind: 'block' }>();
  tagged = false;
  private at = 0;
  private loops = 0;
  private depth = 0;

  constructor(private readonly tokens: readonly Token[]) {}

  private get current(): Token {
    return this.tokens[Math.min(this.at, this.tokens.length - 1)] as Token;
  }

  private fail(message: string, line = this.current.line): never {
    throw new SyntaxProblem(message, line);
  }

  private describeCurrent(): string {
    const { type, value } = this.current;
    if (type === 'end') return 'end of template';
    if (type === 'end-block' || type === 'end-output') return 'end of tag';
    return value === '' ? type : value;
  }

  private next(): Token {
    const token = this.current;
    this.at++;
    return token;
  }

  private isOperator(value: string): boolean {
    return this.current.type === 'operator' && this.current.value === value;
  }

  private isName(...values: string[]): boolean {
    return this.current.type === 'name' && values.includes(this.current.value);
  }

  private skipOperator(value: string): boolean {
    if (!this.isOperator(value)) return false;
    this.at++;
    return true;
  }

  private skipName(value: string): boolean {
    if (!this.isName(value)) return false;
    this.at++;
    return true;
  }

  private expectOperator(value: string): void {
    if (!this.skipOperator(value)) this.fail(`expected token '${value}', got '${this.describeCurrent()}'`);
  }

  private expectName(value?: string): string {
    const { type, value: found } = this.current;
    if (type !== 'name' || (value !== undefined && found !== value))
      this.fail(`expected token '${value ?? 'name'}', got '${this.describeCurrent()}'`);
    return this.next().value;
  }

  private expectEnd(type: 'end-block' | 'end-output'): void {
    if (this.current.type !== type) this.fail(`expected token 'end of tag', got '${this.describeCurrent()}'`);
    this.at++;
  }

  /** Parses something that may contain itself. @throws `BoundExceeded` if it is nested too deeply */
  private nested<T>(parse: () => T): T {
    if (++this.depth > MAX_NESTING) exceeded('The template is nested too deeply', MAX_NESTING, 'levels');
    const result = parse();
    this.depth--;
    return result;
  }

  /** Parses statements up to a tag whose name is in `ends`; the name is the current token then. */
  statements(ends: readonly string[] | null): Statement[] {
    return this.nested(() => this.statementsTo(ends));
  }

  private statementsTo(ends: readonly string[] | null): Statement[] {
    const body: Statement[] = [];
    for (;;) {
      const token = this.next();
      switch (token.type) {
        case 'data':
          body.push({ kind: 'data', text: token.value });
          break;
        case 'begin-output': {
          const expression = this.tupleOf(() => this.expression(), false);
          this.expectEnd('end-output');
          body.push({ kind: 'output', expression });
          break;
        }
        case 'begin-block': {
          if (ends !== null && this.isName(...ends)) return body;
          for (const statement of this.statement()) body.push(statement);
          this.expectEnd('end-block');
          break;
        }
        default:
          if (ends !== null)
            this.fail(`Unexpected end of template. Expected the tag ${ends.join(' or ')}.`, token.line);
          return body;
      }
    }
  }

  /** Parses the body of a tag up to its end tag, whose name is skipped. */
  private body(...ends: string[]): Statement[] {
    this.skipOperator(':');
    this.expectEnd('end-block');
    return this.statements(ends);
  }

  private bodyTo(end: string): Statement[] {
    const body = this.body(end);
    this.at++;
    return body;
  }

  /** Parses the body of a macro, which cannot leave the loop around it. */
  private callableBody(end: string): Statement[] {
    const { loops } = this;
    this.loops = 0;
    const body = this.bodyTo(end);
    this.loops = loops;
    return body;
  }

  private statement(): Statement[] {
    const { type, value: tag, line } = this.current;
    if (type !== 'name') this.fail('tag name expected');
    this.at++;
    switch (tag) {
      case 'if':
        return [this.conditional()];
      case 'for':
        return [this.loop()];
      case 'set':
        return [this.assignment()];
      case 'with':
        return [this.scope()];
      case 'macro': {
        const name = this.expectName();
        const parameters = this.signature();
        return [{ kind: 'macro', name, parameters, body: this.callableBody('endmacro') }];
      }
      case 'call': {
        const parameters = this.isOperator('(') ? this.signature() : [];
        const call = this.expression();
        if (call.kind !== 'call') this.fail('expected call', line);
        return [{ kind: 'call-block', parameters, call, body: this.callableBody('endcall') }];
      }
      case 'filter': {
        const filter = this.filters(null, true) as Filter;
        return [{ kind: 'filter-block', filter, body: this.bodyTo('endfilter') }];
      }
      case 'print':
        return this.printed();
      case 'block':
        return [this.block()];
      case 'generation':
        this.tagged = true;
        return [{ kind: 'generation', body: this.callableBody('endgeneration') }];
      case 'break':
      case 'continue':
        if (this.loops === 0) this.fail(`'${tag}' outside loop`, line);
        return [{ kind: tag }];
      case 'autoescape': {
        const option = this.expression();
        const body = this.bodyTo('endautoescape');
        const isOff = option.kind === 'constant' && option.value.value === false;
        return [
          isOff ? { kind: 'scope', body } : { kind: 'unsupported', reason: 'autoescape is supported only with false' },
        ];
      }
      case 'include':
      case 'import':
      case 'from':
      case 'extends':
        while (this.current.type !== 'end-block' && this.current.type !== 'end') this.at++;
        return [{ kind: 'unsupported', reason: `'${tag}' needs another template; a chat template has no others` }];
      default:
        return this.fail(`Encountered unknown tag '${tag}'.`, line);
    }
  }

  private conditional(): Statement {
    const branches: { test: Expression; body: Statement[] }[] = [];
    for (;;) {
      const test = this.tupleOf(() => this.or(), false);
      branches.push({ test, body: this.body('elif', 'else', 'endif') });
      const tag = this.next().value;
      if (tag === 'elif') continue;
      return { kind: 'if', branches, otherwise: tag === 'else' ? this.bodyTo('endif') : [] };
    }
  }

  private loop(): Statement {
    const { line } = this.current;
    const target = this.target(() => this.isName('in'));
    if (refersTo(target, 'loop')) this.fail("Can't assign to special loop variable in for-loop target", line);
    this.expectName('in');
    const iterable = this.tupleOf(
      () => this.or(),
      false,
      () => this.isName('recursive'),
    );
    const test = this.skipName('if') ? this.expression() : null;
    const recursive = this.skipName('recursive');
    this.loops++;
    const body = this.body('endfor', 'else');
    this.loops--;
    const otherwise = this.next().value === 'else' ? this.bodyTo('endfor') : [];
    return { kind: 'for', target, iterable, test, recursive, body, otherwise, usesLoop: refersTo(body, 'loop') };
  }

  private assignment(): Statement {
    const target = this.target(undefined, true);
    if (this.skipOperator('=')) return { kind: 'set', target, value: this.tupleOf(() => this.expression(), false) };
    const filter = this.isOperator('|') ? (this.filters(null, false) as Filter) : null;
    return { kind: 'set-block', target, filter, body: this.bodyTo('endset') };
  }

  private scope(): Statement {
    const targets: Expression[] = [];
    const values: Expression[] = [];
    while (this.current.type !== 'end-block') {
      if (targets.length > 0) this.expectOperator(',');
      targets.push(this.target());
      this.expectOperator('=');
      values.push(this.expression());
    }
    return { kind: 'with', targets, values, body: this.bodyTo('endwith') };
  }

  private printed(): Statement[] {
    const printed: Statement[] = [];
    while (this.current.type !== 'end-block') {
      if (printed.length > 0) this.expectOperator(',');
      printed.push({ kind: 'output', expression: this.expression() });
    }
    return printed;
  }

  private block(): Statement {
    const { line } = this.current;
    const name = this.expectName();
    const scoped = this.skipName('scoped');
    const isRequired = this.skipName('required');
    const body = this.bodyTo('endblock');
    this.skipName(name);
    if (this.blocks.has(name)) this.fail(`block '${name}' defined twice`, line);
    const block = { kind: 'block', name, scoped, isRequired, body } as const;
    this.blocks.set(name, block);
    return block;
  }

  private signature(): Parameter[] {
    const parameters: Parameter[] = [];
    this.expectOperator('(');
    while (!this.isOperator(')')) {
      if (parameters.length > 0) this.expectOperator(',');
      const name = this.expectName();
      const byDefault = this.skipOperator('=') ? this.expression() : null;
      if (byDefault === null && parameters.at(-1)?.byDefault)
        this.fail('non-default argument follows default argument');
      parameters.push({ name, byDefault });
    }
    this.at++;
    return parameters;
  }

  /** Parses what is assigned to: a name, a tuple of names, or a member of a namespace. */
  private target(isEnd?: () => boolean, withMembers = false): Expression {
    const { line } = this.current;
    const target = this.tupleOf(() => this.primary(withMembers), false, isEnd);
    const canAssign = ({ kind, ...rest }: Expression): boolean =>
      kind === 'tuple'
        ? (rest as { items: readonly Expression[] }).items.every(canAssign)
        : kind === 'member' || kind === 'name';
    if (!canAssign(target)) this.fail(`can't assign to '${target.kind}'`, line);
    return target;
  }

  expression(): Expression {
    return this.nested(() => this.conditionalExpression());
  }

  private conditionalExpression(): Expression {
    let expression = this.or();
    while (this.skipName('if')) {
      const test = this.or();
      const otherwise = this.skipName('else') ? this.expression() : null;
      expression = { kind: 'condition', test, value: expression, otherwise };
    }
    return expression;
  }

  private or(): Expression {
    let left = this.and();
    while (this.skipName('or')) left = { kind: 'or', left, right: this.and() };
    return left;
  }

  private and(): Expression {
    let left = this.not();
    while (this.skipName('and')) left = { kind: 'and', left, right: this.not() };
    return left;
  }

  private not(): Expression {
    return this.skipName('not') ? { kind: 'not', operand: this.nested(() => this.not()) } : this.comparison();
  }

  private comparison(): Expression {
    const first = this.binary(0);
    const rest: { operator: ComparisonOperator; operand: Expression }[] = [];
    for (;;) {
      const operator = this.comparisonOperator();
      if (operator === null) break;
      rest.push({ operator, operand: this.binary(0) });
    }
    return rest.length === 0 ? first : { kind: 'compare', first, rest };
  }

  private comparisonOperator(): ComparisonOperator | null {
    const { type, value } = this.current;
    if (type === 'operator' && COMPARISONS.has(value)) return this.next().value as ComparisonOperator;
    if (this.skipName('in')) return 'in';
    const following = this.tokens[this.at + 1];
    if (!this.isName('not') || following?.type !== 'name' || following.value !== 'in') return null;
    this.at += 2;
    return 'not in';
  }

  /** Parses operators from the loosest level (`+ -`) to the tightest (`**`); `~` is between `+` and `*`. */
  private binary(level: number): Expression {
    const operators = LEVELS[level];
    if (operators === undefined) return this.unary(true);
    if (operators === 'concat') {
      const items = [this.binary(level + 1)];
      while (this.skipOperator('~')) items.push(this.binary(level + 1));
      return items.length === 1 ? (items[0] as Expression) : { kind: 'concat', items };
    }
    let left = this.binary(level + 1);
    while (this.current.type === 'operator' && operators.includes(this.current.value)) {
      const operator = this.next().value as BinaryOperator;
      left = { kind: 'binary', operator, left, right: this.binary(level + 1) };
    }
    return left;
  }

  private unary(withFilter: boolean): Expression {
    const isNegative = this.isOperator('-');
    const signed = isNegative || this.isOperator('+');
    if (signed) this.at++;
    let expression: Expression = signed
      ? { kind: isNegative ? 'negative' : 'positive', operand: this.nested(() => this.unary(false)) }
      : this.primary();
    expression = this.postfix(expression);
    return withFilter ? this.filterExpression(expression) : expression;
  }

  private primary(withMembers = false): Expression {
    const { type, value } = this.current;
    if (type === 'name') {
      this.at++;
      if (/^(true|false)$/i.test(value) && value !== 'TRUE' && value !== 'FALSE')
        return { kind: 'constant', value: flag(value === 'true' || value === 'True') };
      if (value === 'none' || value === 'None') return { kind: 'constant', value: none };
      if (withMembers && this.skipOperator('.')) return { kind: 'member', name: value, key: this.expectName() };
      return { kind: 'name', name: value };
    }
    if (type === 'string') {
      let joined = '';
      while (this.current.type === 'string') joined += this.next().value;
      return { kind: 'constant', value: text(joined) };
    }
    if (type === 'integer' || type === 'float') {
      this.at++;
      const digits = value.replaceAll('_', '');
      return { kind: 'constant', value: type === 'float' ? float(Number(digits)) : integer(BigInt(digits)) };
    }
    if (type === 'operator') {
      if (this.skipOperator('(')) {
        const expression = this.tupleOf(() => this.expression(), true);
        this.expectOperator(')');
        return expression;
      }
      if (this.skipOperator('[')) return { kind: 'list', items: this.items(']', () => this.expression()) };
      if (this.skipOperator('{')) {
        const pairs = this.items('}', () => {
          const key = this.expression();
          this.expectOperator(':');
          return [key, this.expression()] as const;
        });
        return { kind: 'dict', pairs };
      }
    }
    return this.fail(`unexpected '${this.describeCurrent()}'`);
  }

  /** Parses the items of a list or dict, with an optional comma at the end. */
  private items<T>(end: string, parse: () => T): T[] {
    const items: T[] = [];
    while (!this.isOperator(end)) {
      if (items.length > 0) this.expectOperator(',');
      if (this.isOperator(end)) break;
      items.push(parse());
    }
    this.expectOperator(end);
    return items;
  }

  /** Parses one expression, or a tuple if there is a comma. */
  private tupleOf(parse: () => Expression, inParentheses: boolean, isEnd?: () => boolean): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) this.expectOperator(',');
      const { type } = this.current;
      if (type === 'end-output' || type === 'end-block' || this.isOperator(')') || isEnd?.() === true) break;
      items.push(parse());
      if (!this.isOperator(',')) break;
      isTuple = true;
    }
    const [first] = items;
    if (!isTuple) {
      if (first !== undefined) return first;
      if (!inParentheses) this.fail(`Expected an expression, got '${this.describeCurrent()}'`);
    }
    return { kind: 'tuple', items };
  }

  private postfix(given: Expression): Expression {
    let expression = given;
    for (;;) {
      if (this.isOperator('.') || this.isOperator('[')) expression = this.subscript(expression);
      else if (this.isOperator('(')) expression = { kind: 'call', callee: expression, args: this.callArguments() };
      else return expression;
    }
  }

  private filterExpression(given: Expression): Expression {
    let expression = given;
    for (;;) {
      if (this.isOperator('|')) expression = this.filters(expression, false) as Expression;
      else if (this.isName('is')) expression = this.test(expression);
      else if (this.isOperator('(')) expression = { kind: 'call', callee: expression, args: this.callArguments() };
      else return expression;
    }
  }

  private subscript(object: Expression): Expression {
    if (this.skipOperator('.')) {
      const { type, value } = this.next();
      if (type === 'name') return { kind: 'attribute', object, name: value };
      if (type !== 'integer') this.fail('expected name or number');
      return { kind: 'item', object, key: { kind: 'constant', value: integer(BigInt(value.replaceAll('_', ''))) } };
    }
    this.expectOperator('[');
    const keys: Expression[] = [];
    while (!this.isOperator(']')) {
      if (keys.length > 0) this.expectOperator(',');
      keys.push(this.subscribed());
    }
    this.at++;
    const [key] = keys;
    return { kind: 'item', object, key: keys.length === 1 && key !== undefined ? key : { kind: 'tuple', items: keys } };
  }

  private subscribed(): Expression {
    const isOpen = (): boolean => this.isOperator(':') || this.isOperator(']') || this.isOperator(',');
    const start = this.isOperator(':') ? null : this.expression();
    if (!this.skipOperator(':')) return start as Expression;
    const stop = isOpen() ? null : this.expression();
    const step = this.skipOperator(':') && !isOpen() ? this.expression() : null;
    return { kind: 'slice', start, stop, step };
  }

  private callArguments(): ArgumentNodes {
    const { line } = this.current;
    const check = (isValid: boolean): void => {
      if (!isValid) this.fail('invalid syntax for function call expression', line);
    };
    this.expectOperator('(');
    const positional: Expression[] = [];
    const keywords: [string, Expression][] = [];
    const names = new Set<string>();
    let rest: Expression | null = null;
    let restKeywords: Expression | null = null;
    for (let isFirst = true; !this.isOperator(')'); isFirst = false) {
      if (!isFirst) {
        this.expectOperator(',');
        if (this.isOperator(')')) break;
      }
      const following = this.tokens[this.at + 1];
      if (this.skipOperator('*')) {
        check(rest === null && restKeywords === null);
        rest = this.expression();
      } else if (this.skipOperator('**')) {
        check(restKeywords === null);
        restKeywords = this.expression();
      } else if (this.current.type === 'name' && following?.type === 'operator' && following.value === '=') {
        check(restKeywords === null);
        const name = this.next().value;
        this.at++;
        if (names.has(name)) this.fail(`keyword argument repeated: ${name}`);
        names.add(name);
        keywords.push([name, this.expression()]);
      } else {
        check(rest === null && restKeywords === null && keywords.length === 0);
        positional.push(this.expression());
      }
    }
    this.at++;
    return { positional, keywords, rest, restKeywords };
  }

  private dottedName(): string {
    let name = this.expectName();
    while (this.skipOperator('.')) name += `.${this.expectName()}`;
    return name;
  }

  private filters(operand: Expression | null, startsInline: boolean): Expression | null {
    let expression = operand;
    for (let isFirst = startsInline; isFirst || this.skipOperator('|'); isFirst = false) {
      const name = this.dottedName();
      expression = {
        kind: 'filter',
        operand: expression,
        name,
        args: this.isOperator('(') ? this.callArguments() : noArguments,
      };
    }
    return expression;
  }

  private test(operand: Expression): Expression {
    this.at++;
    const negated = this.skipName('not');
    const name = this.dottedName();
    const test: Expression = { kind: 'test', operand, name, args: this.testArguments() };
    return negated ? { kind: 'not', operand: test } : test;
  }

  private testArguments(): ArgumentNodes {
    if (this.isOperator('(')) return this.callArguments();
    const { type, value } = this.current;
    const begins =
      type === 'name'
        ? !NOT_ARGUMENTS.has(value)
        : type === 'string' || type === 'integer' || type === 'float' || this.isOperator('[') || this.isOperator('{');
    if (!begins) return noArguments;
    if (this.isName('is')) this.fail('You cannot chain multiple tests with is');
    return { ...noArguments, positional: [this.postfix(this.primary())] };
  }
}

/** Binary operators from the loosest to the tightest. */
const LEVELS: readonly (readonly string[] | 'concat')[] = [['+', '-'], 'concat', ['*', '/', '//', '%'], ['**']];
