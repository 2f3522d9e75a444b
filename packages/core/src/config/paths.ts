/** The path of a value in a configuration: keys, and indices of lists. */
export type Path = readonly (string | number)[];

const isIndex = (part: string | number) => typeof part === 'number' || /^\d+$/.test(part);

/** Formats a path, for example `callbacks[0].options.maxNorm`. */
export function formatPath(path: Path): string {
  return path.map((part, index) => (isIndex(part) ? `[${part}]` : index === 0 ? part : `.${part}`)).join('');
}

/** Parses a path: `callbacks[0].options.maxNorm` or `callbacks.0.options.maxNorm`. */
export function parsePath(text: string): Path {
  return text
    .replaceAll(/\[(\d+)\]/g, '.$1')
    .split('.')
    .slice(text.startsWith('[') ? 1 : 0)
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
}
