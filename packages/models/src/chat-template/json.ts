import { pythonFloat } from '@whetstone/core/util';
import { inPieces, joinedTexts, repeated } from './bounded-text.js';
import { countDigits, countRead, countSteps, countText } from './bounds.js';
import { bitsOf, isNone, pairsOf, typeName, type Value } from './values.js';

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
  const [itemSeparator, keySeparator] = options.separators ?? [options.indent === null ? ', ' : ',', ': '];
  const wrapped = (open: string, items: readonly string[], close: string): string => {
    if (items.length === 0 || options.indent === null) return open + joinedTexts(items, itemSeparator) + close;
    const margin = `\n${repeated(options.indent, depth + 1)}`;
    return `${open}${margin}${joinedTexts(items, itemSeparator + margin)}\n${repeated(options.indent, depth)}${close}`;
  };
  countSteps(1);
  switch (value.type) {
    case 'str':
      return jsonText(value.value, options.ensureAscii);
    case 'none':
      return 'null';
    case 'bool':
      return value.value ? 'true' : 'false';
    case 'int':
      if (typeof value.value === 'bigint') countDigits(bitsOf(value.value));
      return String(value.value);
    case 'float':
      return value.written ?? jsonFloat(value.value);
    case 'list':
    case 'tuple':
      return wrapped(
        '[',
        value.value.map((item) => toJson(item, options, depth + 1)),
        ']',
      );
    case 'dict': {
      const pairs = pairsOf(value).map(([key, item]) => [keyText(key), item] as const);
      if (options.sortKeys) {
        if (value.others !== undefined) throw new Error('keys that are not texts cannot be sorted here');
        pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
      }
      return wrapped(
        '{',
        pairs.map(
          ([key, item]) => `${jsonText(key, options.ensureAscii)}${keySeparator}${toJson(item, options, depth + 1)}`,
        ),
        '}',
      );
    }
    default:
      throw new Error(`Object of type ${typeName(value)} is not JSON serializable`);
  }
}

const jsonFloat = (number: number): string =>
  Number.isFinite(number) ? pythonFloat(number) : Number.isNaN(number) ? 'NaN' : number > 0 ? 'Infinity' : '-Infinity';

/** Returns the text of a key, which in JSON may be a number, boolean or none in Python. */
function keyText(key: Value): string {
  if (key.type === 'str') return key.value;
  if (isNone(key)) return 'null';
  if (key.type === 'bool') return key.value ? 'true' : 'false';
  if (key.type === 'int') return String(key.value);
  if (key.type === 'float') return jsonFloat(key.value);
  throw new Error(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function jsonText(string: string, ensureAscii: boolean): string {
  countRead(string.length);
  // JSON.stringify differs from Python only in lone surrogates and U+007F.
  const written = JSON.stringify(string);
  countText(written.length);
  if (!ensureAscii) return written;
  return inPieces(written, (piece) =>
    piece.replace(/[\u007f-\uffff]/g, (unit) =>
      unit === '\x7f' ? unit : `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
    ),
  );
}
