/**
 * Control characters except tabs and line ends, characters that embed, override or isolate a direction of text, and
 * line separators. A terminal obeys them: text of others could hide, overwrite or reorder what is shown. Marks of one
 * direction, joiners and variation selectors, which ordinary text needs, change nothing beside them.
 */
const CONTROLS = /(?![\t\n]|\r\n)\p{Cc}|[\u2028-\u202e\u2066-\u2069]/gu;

/** Returns the symbol of a control character: `␛`, or its code point in angle brackets. */
function symbolOf(control: string): string {
  const point = control.charCodeAt(0);
  if (point < 0x20) return String.fromCharCode(0x2400 + point);
  return point === 0x7f ? '\u2421' : `<U+${point.toString(16).toUpperCase().padStart(4, '0')}>`;
}

/** Replaces control characters in text of others by symbols, for a terminal. Tabs and line ends are kept. */
export const visibleText = (text: string): string => text.replace(CONTROLS, symbolOf);

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
