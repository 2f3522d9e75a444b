/** Returns what a value is, as the end of "found: …" in an error. */
export function describeFound(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null || typeof value === 'number') return String(value);
  if (Array.isArray(value)) return 'an array';
  if (value instanceof Promise) return 'a promise';
  if (typeof value === 'object') {
    const { name } = (value.constructor as { readonly name: string } | undefined) ?? Object;
    return name === 'Object' ? 'an object' : `a ${name}`;
  }
  return typeof value === 'string' ? JSON.stringify(value) : `a ${typeof value}`;
}
