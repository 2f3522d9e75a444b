import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { libraryFileProblem, missingInstructions } from './library-file.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-file-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function problem(bytes: Uint8Array | string, platform = 'linux', architecture = 'x64'): Promise<string | null> {
  const path = join(folder, 'library');
  await writeFile(path, bytes);
  return libraryFileProblem(path, platform, architecture);
}

/**
 * An ELF file (System V ABI, chapter 4) with one segment: 64 bytes of header, 56 of program header, then the segment.
 */
function elf({ machine = 62, type = 3, class64 = true, segment = 100, present = 100 } = {}): Buffer {
  const head = Buffer.alloc(120);
  head.writeUInt32BE(0x7f454c46, 0);
  head[4] = class64 ? 2 : 1;
  head[5] = 1;
  head.writeUInt16LE(type, 16);
  head.writeUInt16LE(machine, 18);
  head.writeBigUInt64LE(64n, 32);
  head.writeUInt16LE(56, 54);
  head.writeUInt16LE(1, 56);
  head.writeUInt32LE(1, 64);
  head.writeBigUInt64LE(120n, 72);
  head.writeBigUInt64LE(BigInt(segment), 96);
  return Buffer.concat([head, Buffer.alloc(present)]);
}

test('reports files that are not a library, or one for another machine, on Linux', async () => {
  expect(libraryFileProblem(join(folder, 'absent'))).toBe('the file does not exist');
  expect(await problem('')).toBe('the file is empty');
  expect(await problem('version https://git-lfs.github.com/spec/v1\n')).toBe('it is not a shared library');
  expect(await problem(elf({ type: 2 }))).toBe('it is not a shared library');
  expect(await problem(elf({ machine: 183 }))).toBe('it is for arm64, and this process is x64');
  expect(await problem(elf({ machine: 40, class64: false }))).toBe('it is for 32-bit ARM');
  expect(await problem(elf(), 'linux', 'arm64')).toBe('it is for x64, and this process is arm64');
  expect(await problem(elf())).toBeNull();
});

test('a truncated library is refused before it is mapped', async () => {
  // The segment ends at 120 + 100 bytes; the file has 60 bytes of it.
  expect(await problem(elf({ present: 60 }))).toBe('it is truncated: 180 bytes of at least 220');
  expect(await problem(elf().subarray(0, 100))).toBe('it is truncated');
});

test('checks the formats of macOS and Windows', async () => {
  const macho = (processor: number): Buffer => {
    const head = Buffer.alloc(64);
    head.writeUInt32LE(0xfeedfacf, 0);
    head.writeUInt32LE(processor, 4);
    return head;
  };
  expect(await problem(macho(0x0100000c), 'darwin', 'arm64')).toBeNull();
  expect(await problem(macho(0x01000007), 'darwin', 'arm64')).toBe('it is for x64, and this process is arm64');
  expect(await problem(elf(), 'darwin', 'arm64')).toBe('it is not a shared library');
  const pe = Buffer.alloc(128);
  pe.write('MZ', 0);
  pe.writeUInt32LE(64, 60);
  pe.write('PE\0\0', 64, 'latin1');
  pe.writeUInt16LE(0x8664, 68);
  expect(await problem(pe, 'win32', 'x64')).toBeNull();
  expect(await problem(pe, 'win32', 'arm64')).toBe('it is for x64, and this process is arm64');
  expect(await problem('MZ, but nothing after it', 'win32')).toBe('it is not a shared library');
});

test.skipIf(process.platform !== 'linux')("accepts the machine's own C library", () => {
  const own =
    readFileSync('/proc/self/maps', 'utf8')
      .split('\n')
      .map((line) => line.split(/\s+/)[5] ?? '')
      .find((path) => /libc\.so/.test(path)) ?? '';
  expect(libraryFileProblem(own)).toBeNull();
});

test('reports instruction sets that a processor lacks', () => {
  expect(missingInstructions(['avx'], 'flags\t\t: fpu sse sse2 avx avx2\n')).toBeNull();
  expect(missingInstructions(['avx'], 'flags\t\t: fpu sse sse2\n')).toBe('this processor lacks the instructions avx');
  expect(missingInstructions(['avx'], null)).toBeNull();
});
