import { exceeded, MAX_TEMPLATE } from './bounds.js';
import { SyntaxProblem } from './syntax.js';

/** A token of a template; `type` is the operator itself, or one of the names here. */
export interface Token {
  readonly type:
    | 'data'
    | 'begin-block'
    | 'end-block'
    | 'begin-output'
    | 'end-output'
    | 'name'
    | 'string'
    | 'integer'
    | 'float'
    | 'operator'
    | 'end';
  readonly value: string;
  readonly line: number;
}

const SPACE = /\s+/y;
const FLOAT = /(?<!\.)(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/iy;
const INTEGER = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const NAME = /[\p{L}\p{N}\p{M}_]+/uy;
const STRING = /'[^'\\]*(?:\\[^][^'\\]*)*'|"[^"\\]*(?:\\[^][^"\\]*)*"/y;
const OPERATOR = /\/\/|\*\*|==|!=|>=|<=|[-+/*%~[\](){}<>=.:|,;]/y;
const OPENING = /\{%([-+]?)\s*raw\s*(-?)%\}|\{\{([-+]?)|\{%([-+]?)|\{#([-+]?)/g;

const CLOSERS: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

/** Splits a template into tokens, with `trim_blocks` and `lstrip_blocks` as in transformers. */
export function tokenize(template: string): Token[] {
  if (template.length > MAX_TEMPLATE) exceeded('The template is too long', MAX_TEMPLATE, 'characters');
  let source = template.replace(/\r\n|\r/g, '\n');
  if (source.endsWith('\n')) source = source.slice(0, -1);
  const tokens: Token[] = [];
  const lexer = new Lexer(source, tokens);
  lexer.run();
  return tokens;
}

class Lexer {
  private at = 0;
  private line = 1;
  /** The position of the next line break; infinite after the last. */
  private nextBreak: number;
  /** Whether the text so far ends with a line break, or is empty. */
  private startsLine = true;

  constructor(
    private readonly source: string,
    private readonly tokens: Token[],
  ) {
    this.nextBreak = this.breakFrom(0);
  }

  private breakFrom(start: number): number {
    const at = this.source.indexOf('\n', start);
    return at === -1 ? Infinity : at;
  }

  run(): void {
    const { source } = this;
    while (this.at < source.length) {
      OPENING.lastIndex = this.at;
      const found = OPENING.exec(source);
      if (found === null) {
        this.add('data', source.slice(this.at));
        this.at = source.length;
        break;
      }
      const [whole, rawSign, rawEnd, outputSign, blockSign, commentSign] = found;
      const isOutput = outputSign !== undefined;
      const data = source.slice(this.at, found.index);
      this.add('data', this.trimmed(data, rawSign ?? outputSign ?? blockSign ?? commentSign ?? '', isOutput));
      this.at = found.index + whole.length;
      if (rawSign !== undefined) this.raw(rawEnd === '-');
      else if (commentSign !== undefined) this.comment();
      else this.tag(isOutput);
    }
    this.add('end', '');
  }

  /** Removes the white space before a tag that its sign, or `lstrip_blocks`, removes. */
  private trimmed(data: string, sign: string, isOutput: boolean): string {
    if (sign === '-') return data.trimEnd();
    if (sign === '+' || isOutput) return data;
    const start = data.lastIndexOf('\n') + 1;
    return (start > 0 || this.startsLine) && data.slice(start).trim() === '' ? data.slice(0, start) : data;
  }

  private add(type: Token['type'], value: string): void {
    if (type === 'data' && value === '') return;
    while (this.nextBreak < this.at) {
      this.line++;
      this.nextBreak = this.breakFrom(this.nextBreak + 1);
    }
    this.tokens.push({ type, value, line: this.line });
  }

  /** Skips what follows the end of a tag: all white space after `-`, one line break after a block. */
  private afterTag(sign: string, isOutput: boolean): void {
    if (sign === '-') {
      SPACE.lastIndex = this.at;
      if (SPACE.test(this.source)) this.at = SPACE.lastIndex;
    } else if (sign !== '+' && !isOutput && this.source[this.at] === '\n') this.at++;
    this.startsLine = this.source[this.at - 1] === '\n';
  }

  private comment(): void {
    const end = this.source.indexOf('#}', this.at);
    if (end === -1) throw new SyntaxProblem('Missing end of comment tag', this.line);
    const sign = this.source[end - 1] ?? '';
    const isSign = end > this.at && (sign === '-' || sign === '+');
    this.at = end + 2;
    this.afterTag(isSign ? sign : '', false);
  }

  private raw(trimsStart: boolean): void {
    if (trimsStart) this.afterTag('-', false);
    else this.startsLine = false;
    const END = /\{%([-+]?)\s*endraw\s*([-+]?)%\}/g;
    END.lastIndex = this.at;
    const found = END.exec(this.source);
    if (found === null) throw new SyntaxProblem('Missing end of raw directive', this.line);
    const [whole, sign = '', endSign = ''] = found;
    this.add('data', this.trimmed(this.source.slice(this.at, found.index), sign, false));
    this.at = found.index + whole.length;
    this.afterTag(endSign, false);
  }

  private match(pattern: RegExp): string | null {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.source)?.[0];
    return found ?? null;
  }

  private tag(isOutput: boolean): void {
    const { source } = this;
    this.add(isOutput ? 'begin-output' : 'begin-block', '');
    const open: string[] = [];
    const END = isOutput ? /(-?)\}\}/y : /([-+]?)%\}/y;
    for (;;) {
      const space = this.match(SPACE);
      if (space !== null) this.at += space.length;
      if (this.at >= source.length) {
        this.add('end', '');
        throw new SyntaxProblem('unexpected end of template: a tag is not closed', this.line);
      }
      END.lastIndex = this.at;
      const end = open.length === 0 ? END.exec(source) : null;
      if (end !== null) {
        this.add(isOutput ? 'end-output' : 'end-block', '');
        this.at += end[0].length;
        this.afterTag(end[1] ?? '', isOutput);
        return;
      }
      this.token(open);
    }
  }

  /** Reads one token within a tag. */
  private token(open: string[]): void {
    for (const [type, pattern] of TOKENS) {
      const found = this.match(pattern);
      if (found === null) continue;
      if (type === 'name' && /^\d/u.test(found)) throw new SyntaxProblem('Invalid character in identifier', this.line);
      if (type === 'operator') this.balance(found, open);
      this.add(type, type === 'string' ? unescape(found.slice(1, -1), this.line) : found);
      this.at += found.length;
      return;
    }
    throw new SyntaxProblem(`unexpected char '${this.source[this.at]}'`, this.line);
  }

  private balance(operator: string, open: string[]): void {
    const closer = Object.hasOwn(CLOSERS, operator) ? CLOSERS[operator] : undefined;
    if (closer !== undefined) open.push(closer);
    else if (operator === ')' || operator === ']' || operator === '}') {
      const expected = open.pop();
      if (expected === undefined) throw new SyntaxProblem(`unexpected '${operator}'`, this.line);
      if (expected !== operator) throw new SyntaxProblem(`unexpected '${operator}', expected '${expected}'`, this.line);
    }
  }
}

const TOKENS = [
  ['float', FLOAT],
  ['integer', INTEGER],
  ['name', NAME],
  ['string', STRING],
  ['operator', OPERATOR],
] as const;

const SIMPLE: Readonly<Record<string, string>> = {
  '\n': '',
  '\\': '\\',
  "'": "'",
  '"': '"',
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

/** Implements the escape sequences of Python's strings; unknown ones are kept. */
function unescape(body: string, line: number): string {
  return body.replace(
    /\\(x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|[0-7]{1,3}|N\{[^}]*\}|[^])/g,
    (whole, code: string) => {
      const simple = Object.hasOwn(SIMPLE, code) ? SIMPLE[code] : undefined;
      if (simple !== undefined) return simple;
      if (/^[0-7]/.test(code)) return String.fromCodePoint(parseInt(code, 8));
      if (/^[xuU]./.test(code)) {
        const point = parseInt(code.slice(1), 16);
        if (point > 0x10ffff) throw new SyntaxProblem('illegal Unicode character', line);
        return String.fromCodePoint(point);
      }
      if (/^[xuUN]/.test(code))
        throw new SyntaxProblem(`the escape sequence ${whole} is incomplete or not supported`, line);
      return whole;
    },
  );
}
