import colors from 'picocolors';
import { expect, it } from 'vitest';
import { createPaint, styledText } from './styles.js';

const paint = createPaint(true);
const plain = colors.createColors(true);

it('keeps the colours of the command, and no sequence of others', () => {
  const hostile = '\u001b[31mred\u001b[8m hidden\u001b[2J';
  expect(styledText(`${paint.red(hostile)} ${hostile}`)).toBe(
    '\u001b[31m\u241b[31mred\u241b[8m hidden\u241b[2J\u001b[39m \u241b[31mred\u241b[8m hidden\u241b[2J',
  );
});

it('nests colours as picocolors does', () => {
  expect(styledText(paint.red(`a ${paint.bold('b')} ${paint.green('c')} d`))).toBe(
    plain.red(`a ${plain.bold('b')} ${plain.green('c')} d`),
  );
  expect(styledText(paint.dim(`a ${paint.bold('b')} c`))).toBe(plain.dim(`a ${plain.bold('b')} c`));
});

it('changes nothing without colours', () => {
  expect(createPaint(false).red('\u001b[31ma')).toBe('\u001b[31ma');
});
