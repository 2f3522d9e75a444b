/**
 * Control characters except tabs and line breaks, marks that change the direction of text, and line separators. A
 * terminal obeys them: text of others could hide, overwrite or reorder what is shown.
 */
const CONTROLS = /(?![\t\n])\p{Cc}|[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** Returns the symbol of a control character: `␛`, or its code point in angle brackets. */
function symbolOf(control: string): string {
  const point = control.charCodeAt(0);
  if (point < 0x20) return String.fromCharCode(0x2400 + point);
  return point === 0x7f ? '\u2421' : `<U+${point.toString(16).toUpperCase().padStart(4, '0')}>`;
}

/** Replaces control characters in text of others by symbols, for a terminal. Tabs and line breaks are kept. */
export const visibleText = (text: string): string => text.replace(CONTROLS, symbolOf);

/** The sequences that set a colour or style. */
const STYLES = new RegExp(`(${String.fromCharCode(27)}\\[\\d{1,3}m)`);

/** Like {@link visibleText}, but keeps the sequences that set a colour or style. */
export const visibleStyledText = (text: string): string =>
  text
    .split(STYLES)
    .map((part, at) => (at % 2 === 1 ? part : visibleText(part)))
    .join('');

/** Returns a URL without its user name, password, query and fragment, for messages: these may hold credentials. */
export function publicUrl(url: string): string {
  try {
    const { origin, protocol, host, pathname } = new URL(url);
    return `${origin === 'null' ? `${protocol}//${host}` : origin}${pathname}`;
  } catch {
    // Not a URL: remove what may be credentials.
    return url.replace(/[?#][^]*$/, '').replace(/^([^/@]*\/\/)[^/]*@/, '$1');
  }
}
