import { parquetSchema, type FileMetaData, type SchemaTree } from 'hyparquet';
import { floatValue, integerValue, parseExact, writtenNumber } from '@whetstone/core/util';

type Convert = (value: unknown) => unknown;
type SchemaElement = SchemaTree['element'];

const isDecimal = ({ converted_type: converted, logical_type: logical }: SchemaElement): boolean =>
  converted === 'DECIMAL' || logical?.type === 'DECIMAL';

/**
 * Returns the metadata of a file such that decimals are read as unscaled integers or bytes, because the reader would
 * round them to floats. Binary columns without a type become text here, since the option `utf8` must be off for
 * decimals.
 */
export function withRawDecimals(metadata: FileMetaData): FileMetaData {
  const variants = new Set<SchemaElement>();
  addVariants(parquetSchema(metadata), false, variants);
  return {
    ...metadata,
    schema: metadata.schema.map((element) => {
      if (isDecimal(element)) {
        const { converted_type: _converted, logical_type: _logical, ...raw } = element;
        return raw;
      }
      const { type, converted_type: converted, logical_type: logical } = element;
      const untyped = type === 'BYTE_ARRAY' && converted === undefined && logical === undefined;
      return untyped && !variants.has(element) ? { ...element, converted_type: 'UTF8' } : element;
    }),
  };
}

/** Adds the elements of VARIANT columns, whose bytes the reader decodes. */
function addVariants({ element, children }: SchemaTree, inside: boolean, found: Set<SchemaElement>): void {
  const isVariant = inside || element.logical_type?.type === 'VARIANT';
  if (isVariant) found.add(element);
  for (const child of children) addVariants(child, isVariant, found);
}

/** Parses the text of a column of JSON. */
export const jsonFromBytes = (bytes: Uint8Array | undefined): unknown =>
  bytes === undefined ? undefined : parseExact(new TextDecoder().decode(bytes));

/** Returns a function that converts a value of a column to plain data; numbers keep their type and all digits. */
export function converterOf(tree: SchemaTree): Convert {
  const { element, children } = tree;
  const convert = children.length === 0 ? leaf(element) : nested(tree);
  return (value) => (value === null || value === undefined ? null : convert(value));
}

function nested(tree: SchemaTree): Convert {
  const { element, children, path } = tree;
  const [child] = children;
  if (element.converted_type === 'LIST' && child !== undefined && children.length === 1) {
    const item = converterOf(child.children.length === 1 ? (child.children[0] as SchemaTree) : single(child));
    return (value) => (Array.isArray(value) ? value.map(item) : plain(value));
  }
  if (element.converted_type === 'MAP' && child?.children.length === 2) {
    const item = converterOf(child.children[1] as SchemaTree);
    return (value) =>
      isObject(value) ? Object.fromEntries(Object.entries(value).map(([key, field]) => [key, item(field)])) : value;
  }
  if (element.repetition_type === 'REPEATED') {
    const item = converterOf(single(tree));
    return (value) => (Array.isArray(value) ? value.map(item) : plain(value));
  }
  const fields = new Map(children.map((field) => [field.element.name, converterOf(field)]));
  // Arrow gives every struct of a column all fields: a null field of a struct is absent. A null column is a value.
  const isRow = path.length === 0;
  return (value) => {
    if (!isObject(value)) return plain(value);
    const entries = Object.entries(value).map(([key, field]) => [key, (fields.get(key) ?? plain)(field)] as const);
    return Object.fromEntries(isRow ? entries : entries.filter(([, field]) => field !== null));
  };
}

/** Returns the schema of one item of a repeated field. */
const single = (tree: SchemaTree): SchemaTree => ({
  ...tree,
  element: { ...tree.element, repetition_type: 'REQUIRED' },
});

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);

function leaf(element: SchemaElement): Convert {
  const convert = isDecimal(element)
    ? (value: unknown) => decimal(value, element.scale ?? scaleOf(element))
    : element.type === 'DOUBLE' || element.type === 'FLOAT' || element.logical_type?.type === 'FLOAT16'
      ? (value: unknown) => (typeof value === 'number' ? floatValue(value) : plain(value))
      : plain;
  if (element.repetition_type !== 'REPEATED') return convert;
  return (value) => (Array.isArray(value) ? value.map(convert) : convert(value));
}

const scaleOf = ({ logical_type: logical }: SchemaElement): number => (logical?.type === 'DECIMAL' ? logical.scale : 0);

/** Returns a decimal with all digits of its scale, from its unscaled integer or big-endian bytes. */
function decimal(value: unknown, scale: number): unknown {
  const unscaled =
    value instanceof Uint8Array
      ? BigInt.asIntN(
          value.length * 8,
          value.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n),
        )
      : typeof value === 'bigint' || typeof value === 'number'
        ? BigInt(value)
        : null;
  if (unscaled === null) return plain(value);
  if (scale <= 0) return integerValue(unscaled * 10n ** BigInt(-scale));
  const digits = (unscaled < 0n ? -unscaled : unscaled).toString().padStart(scale + 1, '0');
  return writtenNumber(`${unscaled < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`);
}

/** Converts any other value: integers to numbers, dates to ISO text, bytes to lists. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return integerValue(value);
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>, plain);
  if (Array.isArray(value)) return value.map(plain);
  if (isObject(value)) return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, plain(field)]));
  return value ?? null;
}
