import { randomInt } from 'node:crypto';
import { visibleText } from '@whetstone/core/util';
import colors from 'picocolors';

/** Functions that colour text, or return it unchanged where there are no colours. */
export type Paint = ReturnType<typeof colors.createColors>;

const ESCAPE = '\u001B[';
/**
 * The end of the sequences of {@link createPaint}: parameters that no terminal knows, and that text of others cannot
 * contain. {@link styledText} removes them, and shows the sequences of others as symbols.
 */
const OWN_END = `;${randomInt(20_000, 60_000)};${randomInt(20_000, 60_000)}m`;

/** Replaces control characters in text by symbols, for a terminal, except the sequences of {@link createPaint}. */
export function styledText(text: string): string {
  const parts = text.split(OWN_END);
  const last = parts.pop() ?? '';
  const styled = parts.map((part) => {
    const start = part.lastIndexOf(ESCAPE);
    return `${visibleText(part.slice(0, start))}${part.slice(start)}m`;
  });
  return `${styled.join('')}${visibleText(last)}`;
}

const ownSequences = (text: string): string =>
  text
    .split(ESCAPE)
    .map((part, at) => (at === 0 ? part : part.replace('m', OWN_END)))
    .join(ESCAPE);

/** Returns functions that colour text. Sequences in the text itself, except their own, are shown as symbols. */
export function createPaint(hasColors: boolean): Paint {
  const plain = colors.createColors(hasColors);
  if (!hasColors) return plain;
  return Object.fromEntries(
    Object.entries(plain).map(([name, style]) => [
      name,
      typeof style === 'function' ? (text: unknown) => ownSequences(style(styledText(String(text)))) : style,
    ]),
  ) as unknown as Paint;
}
