import koffi from 'koffi';
import type { ClientOptions } from './options.js';
import { address, encodeUtf8, textAt, words, type Pointer } from './pjrt.js';

/** Words of 8 bytes in a `PJRT_NamedValue`: size, extension, name, its length, kind, value and its length. */
const NAMED_VALUE_WORDS = 7;
const STRING_VALUE = 0;

/** Encodes options as `PJRT_NamedValue`s: integers as int64, other numbers as float. The caller must retain `keep`. */
export function namedValues(options: ClientOptions): {
  readonly values: BigUint64Array;
  readonly count: number;
  readonly keep: readonly unknown[];
} {
  const keep: unknown[] = [];
  const pointerTo = (bytes: Uint8Array): Pointer => {
    keep.push(bytes);
    return address(bytes);
  };
  const entries = Object.entries(options);
  const fields = entries.flatMap(([name, value]): (Pointer | number)[] => {
    const nameBytes = encodeUtf8(name);
    const head = [8 * NAMED_VALUE_WORDS, 0, pointerTo(nameBytes), nameBytes.length];
    if (typeof value === 'boolean') return [...head, 4, value ? 1 : 0, 1];
    if (typeof value === 'string') {
      const text = encodeUtf8(value);
      return [...head, STRING_VALUE, pointerTo(text), text.length];
    }
    if (Number.isInteger(value)) return [...head, 1, BigInt.asUintN(64, BigInt(value)), 1];
    return [...head, 3, new Uint32Array(Float32Array.of(value).buffer)[0] ?? 0, 1];
  });
  return { values: words(fields), count: entries.length, keep };
}

/** Returns the string values of a plugin's `PJRT_NamedValue`s by name. */
export function stringValues(pointer: Pointer, count: number): Map<string, string> {
  if (pointer === 0n || count === 0) return new Map();
  const fields = new BigUint64Array(koffi.view(pointer, NAMED_VALUE_WORDS * 8 * count));
  return new Map(
    Array.from({ length: count }, (_, value) =>
      fields.subarray(NAMED_VALUE_WORDS * value, NAMED_VALUE_WORDS * (value + 1)),
    ).flatMap(([, , name = 0n, nameLength = 0n, kind = 0n, text = 0n, textLength = 0n]) =>
      Number(kind & 0xffffffffn) === STRING_VALUE
        ? [[textAt(name, nameLength), textAt(text, textLength)] as const]
        : [],
    ),
  );
}
