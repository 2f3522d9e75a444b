/** Python's formatting of values: the operator `%`, `str.format`, and format specifications. */
import { characterCount, charactersOf, joinedTexts, repeated } from './bounded-text.js';
import { countDigits, countRead, countSteps, exceeded, MAX_WIDTH } from './bounds.js';
import { exponential, fixed, general } from './numbers.js';
import { escapeHtml } from './html.js';
import {
  bigintOf,
  bitsOf,
  isMapping,
  isNumber,
  isText,
  printed,
  representation,
  required,
  safeText,
  text,
  typeName,
  undefinedValue,
  type Arguments,
  type TextValue,
  type Value,
} from './values.js';

function checkedWidth(digits: string | undefined): number {
  const width = Number(digits ?? 0);
  if (width > MAX_WIDTH) exceeded('A width of a format is too large', MAX_WIDTH, 'characters');
  return width;
}

/** Formats a float with the type e, f, g or % in lower or upper case, without its sign. */
function floatBody(number: number, kind: string, precision: number, alternate: boolean): string {
  if (!Number.isFinite(number)) {
    const name = Number.isNaN(number) ? 'nan' : 'inf';
    return (kind === kind.toUpperCase() && kind !== '%' ? name.toUpperCase() : name) + (kind === '%' ? '%' : '');
  }
  const lower = kind.toLowerCase();
  const body =
    lower === 'e'
      ? exponential(number, precision)
      : lower === 'g'
        ? general(number, precision, alternate)
        : lower === '%'
          ? `${fixed(number * 100, precision)}%`
          : fixed(number, precision);
  return kind === lower ? body : body.toUpperCase();
}

const isNegative = (number: number): boolean => number < 0 || Object.is(number, -0);

const RADIX: Readonly<Record<string, readonly [number, string]>> = {
  x: [16, '0x'],
  X: [16, '0X'],
  o: [8, '0o'],
  b: [2, '0b'],
};

function integerBody(
  absolute: bigint,
  kind: string,
  alternate: boolean,
): { readonly prefix: string; readonly digits: string } {
  const [radix, prefix] = RADIX[kind] ?? [10, ''];
  countDigits(absolute <= BigInt(Number.MAX_SAFE_INTEGER) ? 0 : bitsOf(absolute));
  const digits = absolute.toString(radix);
  return { prefix: alternate ? prefix : '', digits: kind === 'X' ? digits.toUpperCase() : digits };
}

const PERCENT = /%(?:\(([^)]*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d+)?)?[hlL]?([^])?/g;

/** Replaces each match; an error in one ends the search. @throws `BoundExceeded` if the result is too long */
function replaceEach(
  text: string,
  pattern: RegExp,
  replace: (...groups: [string, ...(string | undefined)[]]) => string,
): string {
  countRead(text.length);
  const parts: string[] = [];
  let from = 0;
  for (const found of text.matchAll(pattern)) {
    countSteps(1);
    parts.push(text.slice(from, found.index), replace(...(found as unknown as [string, ...(string | undefined)[]])));
    from = found.index + found[0].length;
  }
  return joinedTexts([...parts, text.slice(from)]);
}

/** Implements `pattern % values`. */
export function percentFormat(pattern: TextValue, values: Value): Value {
  const escaped = pattern.safe === true;
  const items = values.type === 'tuple' ? values.value : [values];
  let next = 0;
  let named = false;
  const take = (): Value => {
    const value = items[next++];
    if (value === undefined) throw new Error('not enough arguments for format string');
    return value;
  };
  const result = replaceEach(
    pattern.value,
    PERCENT,
    (whole, key: string | undefined, flags = '', width: string | undefined, precision: string | undefined, kind) => {
      if (kind === '%' && key === undefined) return '%';
      if (kind === undefined) throw new Error('incomplete format');
      if (width === '*' || precision === '*') throw new Error('"*" in a format is not supported');
      let value: Value;
      if (key === undefined) value = take();
      else {
        if (!isMapping(values)) throw new Error('format requires a mapping');
        named = true;
        const found = values.value.get(key);
        if (found === undefined) throw new Error(`the format has no value for '${key}'`);
        value = found;
      }
      const digits =
        whole.includes('.') && precision === undefined ? 0 : precision === undefined ? null : checkedWidth(precision);
      const body = percentBody(value, flags, digits, String(kind));
      const escapedBody = escaped && !(isText(value) && value.safe === true) ? escapeHtml(body) : body;
      return padPercent(escapedBody, flags, checkedWidth(width), 'diufFeEgGxXo'.includes(String(kind)));
    },
  );
  // Python takes every container but a text or tuple for a mapping, which need not be used.
  const isScalar = isText(values) || isNumber(values) || values.type === 'none';
  const unused = values.type === 'tuple' ? next < items.length : !named && next === 0 && isScalar;
  if (unused) throw new Error('not all arguments converted during string formatting');
  return escaped ? safeText(result) : text(result);
}

function padPercent(body: string, flags: string, width: number, isNumeric: boolean): string {
  const missing = Math.max(0, width - characterCount(body));
  if (flags.includes('-')) return body + repeated(' ', missing);
  if (!flags.includes('0') || !isNumeric || !/\d/.test(body)) return repeated(' ', missing) + body;
  const [sign = ''] = /^[-+ ]?(?:0[xX]|0o)?/.exec(body) ?? [];
  return sign + repeated('0', missing) + body.slice(sign.length);
}

function percentBody(value: Value, flags: string, precision: number | null, kind: string): string {
  const cut = (body: string): string =>
    precision === null ? body : joinedTexts(charactersOf(body).slice(0, precision));
  if (kind === 's') return cut(printed(value));
  if (kind === 'r') return cut(representation(value));
  if (kind === 'a') return cut(asciiOnly(representation(value)));
  required(value);
  if (kind === 'c') return character(value);
  const plus = flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '';
  if (!'diufFeEgGxXo'.includes(kind)) throw new Error(`unsupported format character '${kind}'`);
  if (!isNumber(value)) throw new Error(`%${kind} format: a real number is required, not ${typeName(value)}`);
  if ('fFeEgG'.includes(kind)) {
    const number = Number(value.value);
    return (isNegative(number) ? '-' : plus) + floatBody(Math.abs(number), kind, precision ?? 6, flags.includes('#'));
  }
  if (value.type === 'float' && (kind === 'x' || kind === 'X' || kind === 'o'))
    throw new Error(`%${kind} format: an integer is required, not float`);
  const whole = value.type === 'float' ? integerOfFloat(value.value) : bigintOf(value);
  const { prefix, digits } = integerBody(whole < 0n ? -whole : whole, kind, flags.includes('#'));
  return (whole < 0n ? '-' : plus) + prefix + digits.padStart(precision ?? 0, '0');
}

function integerOfFloat(number: number): bigint {
  if (!Number.isFinite(number))
    throw new Error(`cannot convert float ${Number.isNaN(number) ? 'NaN' : 'infinity'} to integer`);
  return BigInt(Math.trunc(number));
}

function character(value: Value): string {
  if (isText(value) && characterCount(value.value) === 1) return value.value;
  if (value.type === 'int') return String.fromCodePoint(Number(value.value));
  throw new Error('%c requires int or char');
}

const asciiOnly = (written: string): string =>
  joinedTexts(
    charactersOf(written).map((one) => {
      const point = one.codePointAt(0) ?? 0;
      if (point < 0x80) return one;
      const digits = point.toString(16);
      return point < 0x100
        ? `\\x${digits}`
        : point < 0x10000
          ? `\\u${digits.padStart(4, '0')}`
          : `\\U${digits.padStart(8, '0')}`;
    }),
  );

const SPECIFICATION = /^(?:([^])?([<>=^]))?([-+ ])?(z)?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?([a-zA-Z%])?$/u;

interface Specification {
  readonly fill: string;
  readonly align: string | undefined;
  readonly sign: string;
  readonly alternate: boolean;
  readonly width: number;
  readonly grouping: string;
  readonly precision: number | null;
  readonly kind: string;
}

function parseSpecification(specification: string): Specification {
  const found = SPECIFICATION.exec(specification);
  if (found === null || found[4] !== undefined) throw new Error(`Invalid format specifier '${specification}'`);
  const [, fill, align, sign = '-', , alternate, zero, width, grouping = '', precision, kind = ''] = found;
  return {
    fill: fill ?? (zero === undefined ? ' ' : '0'),
    align: align ?? (zero === undefined ? undefined : '='),
    sign,
    alternate: alternate !== undefined,
    width: checkedWidth(width),
    grouping,
    precision: precision === undefined ? null : checkedWidth(precision),
    kind,
  };
}

function grouped(digits: string, separator: string, size: number): string {
  if (separator === '') return digits;
  const [whole = '', ...rest] = digits.split(/(?=[.e%])/);
  const groups: string[] = [];
  for (let end = whole.length; end > 0; end -= size) groups.unshift(whole.slice(Math.max(0, end - size), end));
  return joinedTexts(groups, separator) + rest.join('');
}

/** Implements `format(value, specification)`. */
function formatValue(value: Value, specification: string): string {
  if (specification === '') return printed(value);
  const spec = parseSpecification(specification);
  if (isText(value)) return formatText(value.value, spec, specification);
  if (!isNumber(value)) throw new Error(`unsupported format string passed to ${typeName(value)}.__format__`);
  const isFloat = value.type === 'float' || 'eEfFgG%'.includes(spec.kind || ' ');
  if (spec.kind === 'n') throw new Error('the format "n" depends on the locale and is not supported');
  const { sign, prefix, body } = isFloat ? floatParts(Number(value.value), spec) : integerParts(bigintOf(value), spec);
  return pad(sign + prefix, body, spec, '>');
}

function formatText(value: string, spec: Specification, specification: string): string {
  if (spec.kind !== '' && spec.kind !== 's')
    throw new Error(`Unknown format code '${spec.kind}' for object of type 'str'`);
  if (spec.sign !== '-' || spec.alternate || spec.grouping !== '' || (spec.align === '=' && spec.fill !== '0'))
    throw new Error(`Invalid format specifier '${specification}' for a text`);
  const cut = spec.precision === null ? value : joinedTexts(charactersOf(value).slice(0, spec.precision));
  return pad('', cut, spec.align === '=' ? { ...spec, align: '<' } : spec, '<');
}

const signOf = (negative: boolean, sign: string): string => (negative ? '-' : sign === '-' ? '' : sign);

function integerParts(value: bigint, spec: Specification): { sign: string; prefix: string; body: string } {
  if (spec.precision !== null) throw new Error('Precision not allowed in integer format specifier');
  if (spec.kind === 'c') return { sign: '', prefix: '', body: String.fromCodePoint(Number(value)) };
  if (!['', 'd', 'x', 'X', 'o', 'b'].includes(spec.kind))
    throw new Error(`Unknown format code '${spec.kind}' for object of type 'int'`);
  if (spec.grouping === ',' && RADIX[spec.kind]) throw new Error(`Cannot specify ',' with '${spec.kind}'.`);
  const { prefix, digits } = integerBody(value < 0n ? -value : value, spec.kind, spec.alternate);
  const body = grouped(digits, spec.grouping, RADIX[spec.kind] ? 4 : 3);
  return { sign: signOf(value < 0n, spec.sign), prefix, body };
}

function floatParts(value: number, spec: Specification): { sign: string; prefix: string; body: string } {
  if (!['', 'e', 'E', 'f', 'F', 'g', 'G', '%'].includes(spec.kind))
    throw new Error(`Unknown format code '${spec.kind}' for object of type 'float'`);
  const absolute = Math.abs(value);
  let body: string;
  if (spec.kind !== '') body = floatBody(absolute, spec.kind, spec.precision ?? 6, spec.alternate);
  else if (spec.precision === null) body = printed({ type: 'float', value: absolute });
  else {
    // Like g, but with at least one decimal, and with an exponent one digit earlier.
    const short = floatBody(absolute, 'g', spec.precision, spec.alternate);
    const exponent =
      absolute === 0 || !Number.isFinite(absolute)
        ? 0
        : Number(exponential(absolute, Math.max(0, spec.precision - 1)).split('e')[1]);
    const needsExponent =
      !short.includes('e') && exponent === Math.max(1, spec.precision) - 1 && Number.isFinite(absolute);
    if (needsExponent && absolute !== 0) body = exponentialShort(absolute, spec.precision);
    else body = /[.en]/.test(short) ? short : `${short}.0`;
  }
  return { sign: signOf(isNegative(value), spec.sign), prefix: '', body: grouped(body, spec.grouping, 3) };
}

function exponentialShort(absolute: number, precision: number): string {
  const [mantissa = '', power = ''] = exponential(absolute, Math.max(0, precision - 1)).split('e');
  return `${mantissa.includes('.') ? mantissa.replace(/\.?0+$/, '') : mantissa}e${power}`;
}

function pad(
  sign: string,
  body: string,
  { fill, align, width, grouping, kind }: Specification,
  byDefault: string,
): string {
  const missing = Math.max(0, width - characterCount(sign + body));
  switch (align ?? byDefault) {
    case '<':
      return sign + body + repeated(fill, missing);
    case '^':
      return repeated(fill, Math.floor(missing / 2)) + sign + body + repeated(fill, Math.ceil(missing / 2));
    case '=':
      if (grouping !== '' && fill === '0' && missing > 0)
        throw new Error('zero padding together with grouping is not supported');
      return sign + repeated(fill, missing) + body;
    default:
      if (kind === '\0') return body;
      return repeated(fill, missing) + sign + body;
  }
}

/** Reads `value.name` or `value[key]` in a replacement field. */
export type ReadMember = (object: Value, key: Value, isAttribute: boolean) => Value;

/** Implements `str.format`. */
export function formatFields(pattern: TextValue, args: Arguments, read: ReadMember): Value {
  const counter = { next: 0, isManual: false };
  const result = fields(pattern.value, args, read, counter, pattern.safe === true, 2);
  return pattern.safe === true ? safeText(result) : text(result);
}

function fields(
  pattern: string,
  args: Arguments,
  read: ReadMember,
  counter: { next: number; isManual: boolean },
  escaped: boolean,
  depth: number,
): string {
  if (depth === 0) throw new Error('Max string recursion exceeded');
  countRead(pattern.length);
  let result = '';
  for (let at = 0; at < pattern.length;) {
    const character = pattern.charAt(at);
    if (character !== '{' && character !== '}') {
      result += character;
      at++;
      continue;
    }
    if (pattern[at + 1] === character) {
      result += character;
      at += 2;
      continue;
    }
    if (character === '}') throw new Error("Single '}' encountered in format string");
    const end = endOfField(pattern, at);
    countSteps(1);
    const found = /^([^!:]*)(?:!([^:]*))?(?::([^]*))?$/u.exec(pattern.slice(at + 1, end));
    if (found === null) throw new Error('the replacement field of a format is invalid');
    const [, name = '', conversion, specification = ''] = found;
    const value = converted(fieldValue(name, args, read, counter), conversion);
    const body = formatValue(
      value,
      specification.includes('{') ? fields(specification, args, read, counter, false, depth - 1) : specification,
    );
    result += escaped && !(isText(value) && value.safe === true) ? escapeHtml(body) : body;
    at = end + 1;
  }
  return result;
}

function endOfField(pattern: string, start: number): number {
  let depth = 0;
  for (let at = start; at < pattern.length; at++) {
    if (pattern[at] === '{') depth++;
    else if (pattern[at] === '}' && --depth === 0) return at;
  }
  throw new Error("expected '}' before end of string");
}

function converted(value: Value, conversion: string | undefined): Value {
  switch (conversion) {
    case undefined:
      return value;
    case 'r':
      return text(representation(value));
    case 's':
      return text(printed(value));
    case 'a':
      return text(asciiOnly(representation(value)));
    default:
      throw new Error(`Unknown conversion specifier '${conversion}'`);
  }
}

/** Splits `name.attribute[key]` into its parts; the first may be empty. @throws if the name is invalid */
function partsOfName(name: string): string[] {
  const ends = /[.[]/g;
  const partFrom = (start: number): string => {
    ends.lastIndex = start;
    return name.slice(start, ends.exec(name)?.index);
  };
  const parts = [partFrom(0)];
  for (let at = parts[0]?.length ?? 0; at < name.length;) {
    const close = name[at] === '[' ? name.indexOf(']', at) + 1 : at + 1 + partFrom(at + 1).length;
    const part = name.slice(at, close);
    // `.x` and `[x]` have at least one character; after `]` comes the next part or the end.
    if (close <= at || part.length < (name[at] === '[' ? 3 : 2) || !/^(?:[.[]|$)/.test(name.slice(close, close + 1)))
      throw new Error('the field name of a format is invalid');
    countSteps(1);
    parts.push(part);
    at = close;
  }
  return parts;
}

function fieldValue(
  name: string,
  args: Arguments,
  read: ReadMember,
  counter: { next: number; isManual: boolean },
): Value {
  const [first = '', ...steps] = partsOfName(name);
  const isIndex = first === '' || /^\d+$/.test(first);
  if (isIndex) {
    if (first !== '') counter.isManual = true;
    else if (counter.isManual)
      throw new Error('cannot switch from manual field specification to automatic field numbering');
  }
  let value = isIndex ? args.positional[first === '' ? counter.next++ : Number(first)] : args.keywords.get(first);
  if (value === undefined)
    throw new Error(
      isIndex
        ? `Replacement index ${first === '' ? counter.next - 1 : first} out of range for positional args tuple`
        : `the format has no value for '${first}'`,
    );
  for (const step of steps) {
    const key = step.startsWith('.') ? step.slice(1) : step.slice(1, -1);
    const isNumberKey = !step.startsWith('.') && /^\d+$/.test(key);
    value = read(value, isNumberKey ? { type: 'int', value: Number(key) } : text(key), step.startsWith('.'));
    if (value.type === 'undefined') throw new Error(undefinedValue(value.hint).hint);
  }
  return value;
}
