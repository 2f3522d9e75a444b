import { library } from './library.js';

/** A pattern in tokenizer.json. */
export interface Pattern {
  readonly Regex?: string;
  readonly String?: string;
}

/** Compiles a pattern; the library translates its Oniguruma syntax into a JavaScript regular expression. */
export function compilePattern(pattern: Pattern): RegExp {
  const { pattern: compiled } = new library.SplitPreTokenizer({
    type: 'Split',
    pattern,
    behavior: 'Isolated',
    invert: true,
  });
  if (compiled === null)
    throw new Error(`pattern ${JSON.stringify(pattern)} is neither a string nor a regular expression`);
  return compiled;
}
