import { readFileSync } from 'node:fs';

// Lint rules of this repository. oxlint loads them: see `jsPlugins` in .oxlintrc.json.

const { printWidth } = JSON.parse(readFileSync(new URL('../.oxfmtrc.json', import.meta.url), 'utf8'));

const advice =
  'Wrap it: `npm run format` wraps code. Split a long string, template or regular expression into named constants, ' +
  'rewrap a comment, and shorten a test title.';

/** Reports lines that are longer than the formatter's width: it does not wrap strings or regular expressions. */
const lineLength = {
  createOnce: (context) => ({
    // The lines need no syntax tree: `false` skips building it, which would take most of the time.
    before() {
      context.sourceCode.lines.forEach(({ length }, index) => {
        if (length <= printWidth) return;
        const line = index + 1;
        context.report({
          loc: { start: { line, column: printWidth }, end: { line, column: length } },
          message: `This line has ${length} characters; the limit is ${printWidth}. ${advice}`,
        });
      });
      return false;
    },
    // A rule without a visitor is not run at all.
    Program() {},
  }),
};

// The conventions of CONTRIBUTING.md for which there is more than one way, by the line of text that breaks them.
const conventions = [
  { pattern: /\.#[a-z]|^\s+(?:static |readonly |async )*#[a-z]\w* *[=;:(]/, message: 'Write `private`, not `#`.' },
  {
    pattern: /\bconst \w+Plugin = definePlugin\(/,
    message: 'Name the constant after the plugin: `lora`, not `loraPlugin`.',
  },
  { pattern: /@throws (?:\{|[A-Z])/, message: 'Write a code or class after `@throws` in backticks, without braces.' },
];

/** Code that may break the convention for increments. Only files with such code need a syntax tree. */
const increment = /[+-]= 1\b|(?:\+\+|--)[\w(]/;

/** Returns whether nothing reads the value of an expression. */
function discarded(node) {
  const { parent } = node;
  switch (parent.type) {
    case 'ExpressionStatement':
      return true;
    case 'ForStatement':
      return node.start !== parent.test?.start;
    case 'UnaryExpression':
      return parent.operator === 'void';
    case 'SequenceExpression':
      return node.start !== parent.expressions.at(-1).start || discarded(parent);
    default:
      return false;
  }
}

/** Reports code that breaks one of the conventions. */
const convention = {
  createOnce: (context) => ({
    before() {
      const { lines } = context.sourceCode;
      lines.forEach((text, index) => {
        for (const { pattern, message } of conventions) {
          const column = text.search(pattern);
          const line = index + 1;
          if (column >= 0)
            context.report({ loc: { start: { line, column }, end: { line, column: text.length } }, message });
        }
      });
      return lines.some((text) => increment.test(text));
    },
    AssignmentExpression(node) {
      const sign = { '+=': '++', '-=': '--' }[node.operator];
      if (sign === undefined || node.right.value !== 1) return;
      const form = discarded(node) ? `count${sign}` : `${sign}count`;
      context.report({ node, message: `Write \`${form}\`, not \`count ${node.operator} 1\`.` });
    },
    UpdateExpression(node) {
      const { operator } = node;
      if (node.prefix && discarded(node))
        context.report({ node, message: `Write \`count${operator}\`, not \`${operator}count\`.` });
    },
  }),
};

export default { meta: { name: 'whetstone' }, rules: { 'line-length': lineLength, convention } };
