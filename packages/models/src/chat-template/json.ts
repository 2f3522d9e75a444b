import { isList, isMapping, isMissing, isNone, isNumber, isText, representation, typeName } from './values.js';
import type { Value } from './library.js';

export interface JsonOptions {
  readonly indent: string | null;
  readonly ensureAscii: boolean;
  readonly sortKeys: boolean;
  readonly separators: readonly [string, string] | null;
}

/**
 * Implements Python's `json.dumps` with the defaults of transformers' `tojson` filter: non-ASCII characters and HTML
 * are not escaped.
 */
export function toJson(value: Value, options: JsonOptions, depth = 0): string {
  if (isText(value)) return jsonText(value.value, options.ensureAscii);
  if (isNone(value)) return 'null';
  if (value.type === 'BooleanValue') return value.value === true ? 'true' : 'false';
  if (isNumber(value))
    return value.type === 'FloatValue'
      ? representation(value).replace('nan', 'NaN').replace('inf', 'Infinity')
      : representation(value);
  const [itemSeparator, keySeparator] = options.separators ?? [options.indent === null ? ', ' : ',', ': '];
  const wrapped = (open: string, items: readonly string[], close: string): string => {
    if (items.length === 0 || options.indent === null) return open + items.join(itemSeparator) + close;
    const margin = `\n${options.indent.repeat(depth + 1)}`;
    return `${open}${margin}${items.join(itemSeparator + margin)}\n${options.indent.repeat(depth)}${close}`;
  };
  if (isList(value))
    return wrapped(
      '[',
      value.value.map((item) => toJson(item, options, depth + 1)),
      ']',
    );
  if (isMapping(value)) {
    const entries = [...value.value];
    if (options.sortKeys) entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return wrapped(
      '{',
      entries.map(
        ([key, item]) => `${jsonText(key, options.ensureAscii)}${keySeparator}${toJson(item, options, depth + 1)}`,
      ),
      '}',
    );
  }
  throw new Error(
    isMissing(value)
      ? 'Object of type Undefined is not JSON serializable'
      : `Object of type ${typeName(value)} is not JSON serializable`,
  );
}

function jsonText(string: string, ensureAscii: boolean): string {
  // JSON.stringify differs from Python only in lone surrogates and U+007F.
  const written = JSON.stringify(string);
  return ensureAscii
    ? written.replace(/[\u007f-\uffff]/g, (unit) =>
        unit === '\x7f' ? unit : `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
      )
    : written;
}
