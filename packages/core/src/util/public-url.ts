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
