import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parquetMetadata } from 'hyparquet';
import { describe, expect, test } from 'vitest';
import { isWhetstoneError } from '@whetstone/core/contract';
import { collect, temporaryFolder, writeInto } from '../testing/files.js';
import { decompressLz4, decompressLz4Raw } from './lz4.js';
import { checkThrift, checkValues, pagesOf } from './parquet-pages.js';
import { readParquet, type GroupLimits } from './parquet.js';

const folder = temporaryFolder();
const testData = fileURLToPath(new URL('../../test-data/', import.meta.url));
const fixtures = readdirSync(testData).filter((name) => name.endsWith('.parquet') && !name.startsWith('nested'));

/** Reads a file; an error without a code fails the test. Vitest fails on a rejection that is not handled. */
async function read(file: string, limits: Partial<GroupLimits> = {}): Promise<'rows' | 'error'> {
  try {
    await collect(readParquet(file, undefined, limits));
    return 'rows';
  } catch (error) {
    if (isWhetstoneError(error) && error.code === 'FILE_UNREADABLE') return 'error';
    throw error;
  }
}

/** A generator of pseudo-random integers (a linear congruential one, with the constants of Numerical Recipes). */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Bytes that begin large counts and sizes, negative ones, and long runs. */
const EVIL = [
  [0xff, 0xff, 0xff, 0xff, 0x0f],
  [0xff, 0xff, 0xff, 0xff, 0x07],
  [0xfe, 0xff, 0xff, 0x7f],
  [0x00],
  [0xff],
  [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
];

function damaged(bytes: Uint8Array, next: (below: number) => number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  const changes = 1 + next(3);
  for (let change = 0; change < changes; change++) {
    // Half of the changes are in the footer, which has the sizes.
    const footer = new DataView(copy.buffer).getUint32(Math.max(0, copy.length - 8), true);
    const start = next(2) === 0 ? 4 : Math.max(4, copy.length - 8 - Math.min(footer, copy.length - 12));
    const at = start + next(copy.length - start);
    if (next(2) === 0) copy[at] = next(256);
    else copy.set((EVIL[next(EVIL.length)] ?? []).slice(0, copy.length - at), at);
  }
  return next(10) === 0 ? copy.slice(0, next(copy.length)) : copy;
}

describe('a damaged Parquet file ends in an error with a code, or in rows', () => {
  test.each(fixtures)(
    '%s',
    async (name) => {
      const bytes = readFileSync(testData + name);
      const next = random(7);
      const found = { rows: 0, error: 0 };
      for (let round = 0; round < 150; round++)
        found[await read(writeInto(folder, 'damaged.parquet', damaged(bytes, next)))]++;
      expect(found.error).toBeGreaterThan(0);
    },
    120_000,
  );

  test.each([
    ['pages.snappy.parquet', 20_000],
    ['indexed.lz4.parquet', 2000],
  ])(
    '%s, by its page index',
    async (name, decodedBytes) => {
      const bytes = readFileSync(testData + name);
      const next = random(11);
      const found = { rows: 0, error: 0 };
      for (let round = 0; round < 40; round++)
        found[await read(writeInto(folder, 'damaged.parquet', damaged(bytes, next)), { decodedBytes })]++;
      expect(found.error).toBeGreaterThan(0);
    },
    120_000,
  );

  // The offset index of the column n.
  test.each([
    [
      'rows that are not those of the pages',
      (index: Buffer) => index.writeUInt8((index.readUInt8(index.length - 3) ^ 2) & 0x7e, index.length - 3),
    ],
    ['an end before its end', (index: Buffer) => index.fill(0xff)],
    ['ten million pages', (index: Buffer) => index.set([0x19, 0xfc, 0x80, 0xad, 0xe2, 0x04])],
  ])('whose page index has %s', async (_, damage) => {
    const bytes = readFileSync(`${testData}indexed.lz4.parquet`);
    const metadata = parquetMetadata(Uint8Array.from(bytes).buffer);
    const chunk = metadata.row_groups[0]?.columns.at(-2);
    expect(chunk?.meta_data?.path_in_schema).toEqual(['n']);
    const start = Number(chunk?.offset_index_offset);
    damage(bytes.subarray(start, start + Number(chunk?.offset_index_length)));
    const file = writeInto(folder, 'index.parquet', bytes);
    expect(await read(file, { decodedBytes: 2000 })).toBe('error');
    // Without the index, the file is read.
    expect(await read(file)).toBe('rows');
  });

  // Found by cutting: the footer is complete, and a column in it lies outside of the file.
  test('whose columns lie outside of the file', async () => {
    const bytes = readFileSync(`${testData}messages.snappy.parquet`);
    const footer = bytes.readUInt32LE(bytes.length - 8) + 8;
    const cut = Buffer.concat([bytes.subarray(0, 4), bytes.subarray(bytes.length - footer)]);
    expect(await read(writeInto(folder, 'cut.parquet', cut))).toBe('error');
  });
});

describe('what is compressed with LZ4', () => {
  // One literal, then 4 + 15 + 0 bytes from one byte before: 20 times the letter a.
  const block = [0x1f, 0x61, 1, 0, 0];
  const expected = Buffer.from('a'.repeat(20));

  test('is read as one block, and in the frames of Hadoop', () => {
    expect(Buffer.from(decompressLz4Raw(Uint8Array.from(block), 20))).toEqual(expected);
    expect(Buffer.from(decompressLz4(Uint8Array.from(block), 20))).toEqual(expected);
    // The lengths of a frame have four bytes each, the highest first.
    const frame = [0, 0, 0, 20, 0, 0, 0, 5, ...block];
    expect(Buffer.from(decompressLz4(Uint8Array.from([...frame, ...frame]), 40)).toString()).toBe('a'.repeat(40));
    // Five literals, and a match of 4 bytes that does not overlap its copy.
    expect(Buffer.from(decompressLz4Raw(Uint8Array.from([0x50, 1, 2, 3, 4, 5, 5, 0]), 9))).toEqual(
      Buffer.from([1, 2, 3, 4, 5, 1, 2, 3, 4]),
    );
    expect(decompressLz4Raw(Uint8Array.from([0]), 0)).toHaveLength(0);
  });

  test.each([
    ['ends early', block.slice(0, -1), 20],
    ['ends within an offset', block.slice(0, 3), 20],
    ['is shorter than its page', block, 21],
    ['is longer than its page', block, 19],
    ['copies from before its start', [0x1f, 0x61, 2, 0, 0], 20],
    ['copies from nowhere', [0x1f, 0x61, 0, 0, 0], 20],
    ['has more literals than bytes', [0xf0, 255, 255, 0], 20],
    ['expands without an end', [0x1f, 0x61, 1, 0, ...Array.from({ length: 1000 }, () => 255), 0], 20],
    ['is missing', [], 20],
  ])('is an error if it %s', (_, bytes, length) => {
    for (const decompress of [decompressLz4Raw, decompressLz4])
      expect(() => decompress(Uint8Array.from(bytes), length)).toThrow('damaged');
  });
});

test('lists in the metadata are bounded before they are allocated', () => {
  // Field 2, a list of 2^27 − 1 structs, of which there are two.
  const list = [0x29, 0xfc, 0xff, 0xff, 0xff, 0x3f, 0, 0, 0];
  expect(() => checkThrift(Uint8Array.from(list))).toThrow('too long');
  const bytes = Buffer.from(readFileSync(`${testData}messages.zstd.parquet`));
  const length = bytes.readUInt32LE(bytes.length - 8);
  expect(() => checkThrift(bytes.subarray(bytes.length - 8 - length, bytes.length - 8))).not.toThrow();
});

// 400,000 values in ten lists each, by pyarrow: the lists would take 400,000 × 20 × 180 bytes = 1.3 GiB.
test('nesting is bounded before it is decoded', async () => {
  const file = `${testData}nested.zstd.parquet`;
  const error: unknown = await collect(readParquet(file, undefined, { maxGroupBytes: 2 ** 26 })).catch(
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({
    code: 'FILE_UNREADABLE',
    message: expect.stringMatching(/decoded at once, into about 1\d\d\d\.\d MiB/) as string,
  });
});

describe('a page is checked before it is decoded', () => {
  const column = { repetition: 0, definition: 1, isBoolean: false, maxPageBytes: 1000, maxValues: 100 };
  // Thrift: 1 type = 0, 2 uncompressed, 3 compressed, 5 {1 values, 2 encoding}; integers are zigzag varints.
  const header = (uncompressed: number, compressed: number, values: number): number[] => [
    0x15,
    0,
    0x15,
    ...zigzag(uncompressed),
    0x15,
    ...zigzag(compressed),
    0x2c,
    0x15,
    ...zigzag(values),
    0x15,
    16,
    0,
    0,
  ];
  const zigzag = (value: number): number[] => varint(value >= 0 ? value * 2 : -value * 2 - 1);
  const varint = (value: number): number[] => {
    const bytes: number[] = [];
    let rest = value;
    for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
    return [...bytes, rest];
  };
  const page = (...sizes: [number, number, number]): Uint8Array => Uint8Array.from([...header(...sizes), 1, 2, 3]);

  test('its sizes', () => {
    expect(pagesOf(page(3, 3, 100), column)).toMatchObject([{ uncompressed: 3, values: 100, encoding: 8 }]);
    expect(() => pagesOf(page(1001, 3, 5), column)).toThrow('larger than 1000 bytes');
    expect(() => pagesOf(page(3, 4, 5), column)).toThrow('outside of its column');
    expect(() => pagesOf(page(3, -3, 5), column)).toThrow('outside of its column');
    expect(() => pagesOf(page(3, 3, 2 ** 30), column)).toThrow('more than 100 values');
    expect(() => pagesOf(page(3, 3, -1), column)).toThrow('more than 100 values');
  });

  test('the lengths of its runs', () => {
    const [first] = pagesOf(page(3, 3, 100), column);
    if (first === undefined) throw new Error('no page');
    const levels = (...run: number[]): Uint8Array => Uint8Array.from([run.length, 0, 0, 0, ...run, 0]);
    // A run of 100 values of 1: 100 × 2, then the value.
    expect(() => checkValues(levels(0xc8, 0x01, 1), first, column)).not.toThrow();
    expect(() => checkValues(levels(0xfe, 0xff, 0xff, 0xff, 0x0f, 1), first, column)).toThrow('a run of');
    expect(() => checkValues(levels(0xff, 0xff, 0xff, 0xff, 0x0f, 1), first, column)).toThrow('a run of');
    expect(() => checkValues(Uint8Array.from([200, 0, 0, 0, 1]), first, column)).toThrow('longer than the page');
  });

  test('the lengths of values that share prefixes', () => {
    const [first] = pagesOf(page(3, 3, 100), column);
    if (first === undefined) throw new Error('no page');
    const values = { ...first, encoding: 7, levels: { repetition: 0, definition: 0, nulls: 0 } };
    // DELTA_BINARY_PACKED: a block of 128 values in one miniblock, the number of values, the first one, and by how much
    // each exceeds the one before it, in 0 bits.
    const lengths = (count: number, length: number, step: number): number[] => [
      ...varint(128),
      1,
      ...varint(count),
      ...zigzag(length),
      ...(count > 1 ? [...zigzag(step), 0] : []),
    ];
    const check = (prefixes: number[], suffixes: number[]) => () =>
      checkValues(Uint8Array.from([...prefixes, ...suffixes]), values, column);
    // Of 19 values, each begins with the one before and is 5 bytes longer: 5 + 10 + … + 95 = 950.
    expect(check(lengths(19, 0, 5), lengths(19, 5, 0))).not.toThrow();
    // One more: 1,050 bytes.
    expect(check(lengths(20, 0, 5), lengths(20, 5, 0))).toThrow('values have 1050 bytes');
    expect(check(lengths(2, 0, -5), lengths(2, 5, 0))).toThrow('is negative');
    expect(check(lengths(101, 0, 0), lengths(101, 1, 0))).toThrow('101 delta-encoded values in a page of 100');
  });

  test('a column that another writer encoded with prefixes is read', async () => {
    const rows = await collect(readParquet(`${testData}prefixes.snappy.parquet`));
    const expected = Array.from({ length: 300 }, (_, row) =>
      row % 7 === 3 ? null : `conversation number ${String(row * row).padStart(6, '0')} of ${'x'.repeat(row % 40)}`,
    );
    expect(rows).toEqual(expected.map((text, row) => ({ line: row + 1, value: { text } })));
  });
});
