import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isWhetstoneError } from '@whetstone/core/contract';
import { HeaderTooShort, parseHeader, type GgufHeader } from './header.js';
import { openGguf } from './testing/open-gguf.js';
import { float32Bytes, writeGguf, type HeaderFaults } from './testing/write-gguf.js';

const metadata = {
  'general.architecture': 'llama',
  'llama.block_count': 2,
  'a.list': ['x', 'yz'],
  'a.flag': true,
  'a.float': -0.5,
  'a.nested': [[1, 2], [3]],
} as const;
const tensors = [
  { name: 'a', shape: [2, 3], bytes: float32Bytes([1, 2, 3, 4, 5, 6]) },
  { name: 'b', shape: [32], type: 8, bytes: new Uint8Array(34) },
];
const valid = writeGguf(metadata, tensors);
const parse = (bytes: Uint8Array, fileBytes = bytes.length): GgufHeader =>
  parseHeader({ file: 'model.gguf', bytes, fileBytes });

function codeOf(run: () => unknown): { readonly code: string; readonly text: string } {
  try {
    run();
  } catch (error) {
    if (isWhetstoneError(error)) return { code: error.code, text: error.toString() };
    throw error;
  }
  return { code: 'none', text: '' };
}

describe('GGUF header', () => {
  it('is parsed completely', () => {
    const header = parse(valid);
    expect(header.version).toBe(3);
    expect(Object.fromEntries(header.metadata)).toEqual(metadata);
    const a = header.tensors.get('a');
    expect(a).toMatchObject({ shape: [2, 3], type: { name: 'F32' } });
    expect((a?.begin ?? 1) % 32).toBe(0);
    expect(header.tensors.get('b')?.type.name).toBe('Q8_0');
  });

  it.each<[string, Uint8Array, RegExp]>([
    ['a file of another format', new TextEncoder().encode('PK this is something else entirely'), /does not start with/],
    ['an empty file', new Uint8Array(0), /does not start with/],
    [
      'more tensors than the file can contain',
      writeGguf(metadata, tensors, { tensorCount: 1n << 60n }),
      /more tensors/,
    ],
    [
      'more metadata than the file can contain',
      writeGguf(metadata, tensors, { entryCount: 1n << 40n }),
      /more metadata/,
    ],
    [
      'a tensor beyond the end',
      writeGguf(metadata, tensors, { offset: (offset) => BigInt(offset) + 4096n }),
      /beyond the end/,
    ],
    [
      'an offset near 2^64',
      writeGguf(metadata, tensors, { offset: () => 0xffff_ffff_ffff_ffe0n }),
      /is not aligned|beyond the end/,
    ],
    ['a misaligned tensor', writeGguf(metadata, tensors, { offset: (offset) => BigInt(offset) + 4n }), /aligned/],
    ['tensors that overlap', writeGguf(metadata, tensors, { offset: () => 0n }), /overlaps/],
    [
      'two tensors with the same name',
      writeGguf(
        metadata,
        [tensors[0], tensors[0]].filter((tensor) => tensor !== undefined),
      ),
      /same name/,
    ],
    [
      'an unknown tensor type',
      writeGguf(metadata, [{ name: 'a', shape: [32], type: 77, bytes: new Uint8Array(64) }]),
      /unknown type/,
    ],
    [
      'an incomplete block in a row',
      writeGguf(metadata, [{ name: 'a', shape: [2, 16], type: 8, bytes: new Uint8Array(34) }]),
      /not a multiple/,
    ],
    ['a size of zero', writeGguf(metadata, [{ name: 'a', shape: [0], bytes: new Uint8Array(0) }]), /invalid size/],
    [
      'a size beyond safe integers',
      writeGguf(metadata, [{ name: 'a', shape: [2 ** 40, 2 ** 40], bytes: new Uint8Array(4) }]),
      /too large/,
    ],
    ['an odd alignment', writeGguf({ ...metadata, 'general.alignment': 3 }, tensors), /alignment/],
  ])('rejects %s', (_, bytes, message) => {
    const { code, text } = codeOf(() => parse(bytes));
    expect(code).toBe('GGUF_INVALID');
    expect(text).toMatch(message);
    expect(text).toContain('model.gguf');
  });

  it.each<[string, HeaderFaults]>([
    ['version 1', { version: 1 }],
    ['big-endian order', { version: 0x0300_0000 }],
  ])('does not support %s', (_, faults) => {
    expect(codeOf(() => parse(writeGguf(metadata, tensors, faults))).code).toBe('GGUF_UNSUPPORTED');
  });

  it('reports truncation at every length', () => {
    const dataStart = parse(valid).tensors.get('a')?.begin ?? 0;
    for (let length = 0; length < valid.length - 32; length++) {
      const { code } = codeOf(() => parse(valid.subarray(0, length)));
      expect(code, `cut at ${length} of ${dataStart}`).toBe('GGUF_INVALID');
    }
  });

  it('requests more bytes if the file has them', () => {
    expect(() => parse(valid.subarray(0, 60), valid.length)).toThrow(HeaderTooShort);
  });

  it('throws only GGUF errors for arbitrary bytes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(valid.length - 1), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 }),
        (changes) => {
          const bytes = valid.slice();
          for (const [at, byte] of changes) bytes[at] = byte;
          expect(['none', 'GGUF_INVALID', 'GGUF_UNSUPPORTED']).toContain(codeOf(() => parse(bytes)).code);
        },
      ),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (tail) => {
        const bytes = new Uint8Array([...valid.subarray(0, 24), ...tail]);
        expect(['none', 'GGUF_INVALID', 'GGUF_UNSUPPORTED']).toContain(codeOf(() => parse(bytes)).code);
      }),
      { numRuns: 500 },
    );
  });
});

describe('openGguf', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'whetstone-gguf-'));
    await writeFile(join(folder, 'a.gguf'), valid);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('reads tensors by name', async () => {
    const gguf = await openGguf(join(folder, 'a.gguf'));
    expect([...(await gguf.readFloat32('a'))]).toEqual([1, 2, 3, 4, 5, 6]);
    await expect(gguf.readFloat32('c')).rejects.toMatchObject({ code: 'MODEL_TENSOR_MISSING' });
    await gguf.close();
  });

  it('reports a missing file and a folder', async () => {
    await expect(openGguf(folder)).rejects.toMatchObject({ code: 'FILE_UNREADABLE', place: { file: folder } });
    await expect(openGguf(join(folder, 'b.gguf'))).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
  });
});
