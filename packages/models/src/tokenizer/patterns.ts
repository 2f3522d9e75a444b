import { library } from './library.js';

/** How a tokenizer file writes a pattern. */
export interface Pattern {
  readonly Regex?: string;
  readonly String?: string;
}

/** The pattern as a JavaScript expression: the library translates the Oniguruma syntax that these files use. */
export function compilePattern(pattern: Pattern): RegExp {
  const { pattern: compiled } = new library.SplitPreTokenizer({
    type: 'Split',
    pattern,
    behavior: 'Isolated',
    invert: true,
  });
  if (compiled === null) throw new Error(`pattern ${JSON.stringify(pattern)} is neither a string nor an expression`);
  return compiled;
}
