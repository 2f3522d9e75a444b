import * as fc from 'fast-check';

/** One change of a file. Positions are shares of its length, so that they fit every file. */
export type Change =
  | { readonly kind: 'byte'; readonly at: number; readonly value: number }
  | { readonly kind: 'insert' | 'overwrite'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'delete' | 'repeat'; readonly at: number; readonly length: number }
  | { readonly kind: 'cut'; readonly at: number };

/** Texts and numbers that programs mistake for something else. */
const EVIL_TEXTS =
  'null true -1 0 1e999 4294967296 9007199254740993 0.5 "" [] {} "__proto__" "constructor" {"__proto__":{"a":1}} ' +
  '\\u0000 \\ud800 [[[[[[[[ {"a": , : " {{ }} {% %} (a+)+$ [ ) |tojson *99999999 [0] .x \n \r \0 \ufeff \u202e 😀 ' +
  `${'['.repeat(5000)} ${'{"a":'.repeat(5000)} ${'x'.repeat(5000)}`;
const EVIL_BYTES = [
  [0xff, 0xff, 0xff, 0xff],
  [0xff, 0xff, 0xff, 0x7f],
  [0, 0, 0, 0x80],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
  [0, 0, 0, 0, 1, 0, 0, 0],
  [0xfe, 0xff, 0xff, 0xff, 0x0f],
  [0, 0, 0, 0, 0, 0, 0, 0],
];

const evil = fc.oneof(
  fc.constantFrom(...EVIL_TEXTS.split(' ')).map((text) => new TextEncoder().encode(text)),
  fc.constantFrom(...EVIL_BYTES).map((bytes) => Uint8Array.from(bytes)),
);
const share = fc.double({ min: 0, max: 1, noNaN: true });
const length = fc.integer({ min: 1, max: 200 });

/** Changes of a file, from one to four. */
export const changes: fc.Arbitrary<Change[]> = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant('byte' as const), at: share, value: fc.integer({ min: 0, max: 255 }) }),
    fc.record({ kind: fc.constantFrom('insert' as const, 'overwrite' as const), at: share, bytes: evil }),
    fc.record({ kind: fc.constantFrom('delete' as const, 'repeat' as const), at: share, length }),
    fc.record({ kind: fc.constant('cut' as const), at: share }),
  ),
  { minLength: 1, maxLength: 4 },
);

const joined = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(Buffer.concat(parts));

function apply(bytes: Uint8Array, change: Change): Uint8Array {
  const at = Math.floor(change.at * bytes.length);
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (change.kind) {
    case 'byte':
      return joined(before, Uint8Array.of(change.value), after.subarray(1));
    case 'insert':
      return joined(before, change.bytes, after);
    case 'overwrite':
      return joined(before, change.bytes, after.subarray(change.bytes.length));
    case 'delete':
      return joined(before, after.subarray(change.length));
    case 'repeat':
      return joined(before, after.subarray(0, change.length), after);
    case 'cut':
      return before.slice();
  }
}

/** Returns a copy of a file with changes. */
export const mutated = (seed: Uint8Array, list: readonly Change[]): Uint8Array => list.reduce(apply, seed);

/** Returns a JSON text in which a value is replaced; the text itself if it is not JSON. */
export function withValue(seed: Uint8Array, at: number, value: unknown): Uint8Array {
  let root: unknown;
  try {
    root = JSON.parse(Buffer.from(seed).toString('utf8'));
  } catch {
    return seed;
  }
  const places: (() => void)[] = [];
  const visit = (container: unknown): void => {
    if (typeof container !== 'object' || container === null || places.length > 5000) return;
    const fields = container as Record<string, unknown>;
    for (const key of Object.keys(fields)) {
      places.push(() => void (fields[key] = value));
      visit(fields[key]);
    }
  };
  visit(root);
  places[Math.floor(at * places.length) % Math.max(1, places.length)]?.();
  return new TextEncoder().encode(JSON.stringify(root));
}

/** Values of every type, to replace values of JSON files. */
export const jsonValues: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    false,
    0,
    -1,
    1,
    0.5,
    2 ** 32,
    2 ** 53,
    -(2 ** 31),
    1e300,
    '',
    'valueOf',
    '(a+)+$',
  ),
  fc.constantFrom<unknown>('__proto__', 'constructor', '../..', '\0', '\ud800', [], {}, [null], [[]], { a: 1 }, ['']),
  fc.json({ maxDepth: 2 }).map((text) => JSON.parse(text) as unknown),
);
