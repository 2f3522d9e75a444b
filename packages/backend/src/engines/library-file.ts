import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';

/** Processor numbers of the file formats: ELF's e_machine, Mach-O's cputype, PE's Machine. */
const processors: Readonly<Record<string, { readonly elf: number; readonly macho: number; readonly pe: number }>> = {
  x64: { elf: 62, macho: 0x01000007, pe: 0x8664 },
  arm64: { elf: 183, macho: 0x0100000c, pe: 0xaa64 },
};

const names: Readonly<Record<number, string>> = {
  3: '32-bit x86',
  40: '32-bit ARM',
  62: 'x64',
  183: 'arm64',
  21: 'ppc64',
  22: 's390x',
  243: 'riscv64',
  0x01000007: 'x64',
  0x0100000c: 'arm64',
  0x8664: 'x64',
  0xaa64: 'arm64',
  0x14c: '32-bit x86',
};

const named = (machine: number): string => names[machine] ?? `processor number ${machine}`;

/**
 * Returns why a file cannot be a shared library for this machine, or null. The loader's own messages are unclear, and a
 * truncated file would end the process when its missing pages are read.
 */
export function libraryFileProblem(
  path: string,
  platform: string = process.platform,
  architecture: string = process.arch,
): string | null {
  if (!existsSync(path)) return 'the file does not exist';
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    if (size === 0) return 'the file is empty';
    const head = Buffer.alloc(Math.min(size, 65_536));
    readSync(file, head, 0, head.length, 0);
    const expected = processors[architecture];
    if (platform === 'linux') return elfProblem(head, size, expected?.elf);
    if (platform === 'darwin') return machOProblem(head, expected?.macho);
    if (platform === 'win32') return peProblem(head, expected?.pe);
    return null;
  } finally {
    closeSync(file);
  }
}

const otherProcessor = (machine: number, expected: number | undefined): string | null =>
  expected === undefined || machine === expected
    ? null
    : `it is for ${named(machine)}, and this process is ${named(expected)}`;

function elfProblem(head: Buffer, size: number, expected: number | undefined): string | null {
  if (head.length < 64 || head.readUInt32BE(0) !== 0x7f454c46) return 'it is not a shared library';
  if (head[4] !== 2 || head[5] !== 1)
    return `it is for ${named(head[5] === 2 ? head.readUInt16BE(18) : head.readUInt16LE(18))}`;
  const other = otherProcessor(head.readUInt16LE(18), expected);
  if (other !== null) return other;
  if (head.readUInt16LE(16) !== 3) return 'it is not a shared library';
  const table = Number(head.readBigUInt64LE(32));
  const [entry, count] = [head.readUInt16LE(54), head.readUInt16LE(56)];
  for (let index = 0; index < count; index++) {
    const at = table + index * entry;
    if (at + 56 > head.length) return at + 56 > size ? 'it is truncated' : null;
    const end = Number(head.readBigUInt64LE(at + 8)) + Number(head.readBigUInt64LE(at + 32));
    if (end > size) return `it is truncated: ${size} bytes of at least ${end}`;
  }
  return null;
}

function machOProblem(head: Buffer, expected: number | undefined): string | null {
  if (head.length < 32) return 'it is not a shared library';
  const magic = head.readUInt32LE(0);
  // A universal file for several processors: the loader selects one.
  if (magic === 0xbebafeca) return null;
  return magic === 0xfeedfacf ? otherProcessor(head.readUInt32LE(4), expected) : 'it is not a shared library';
}

function peProblem(head: Buffer, expected: number | undefined): string | null {
  if (head.length < 64 || head.toString('latin1', 0, 2) !== 'MZ') return 'it is not a shared library';
  const at = head.readUInt32LE(60);
  if (at + 6 > head.length || head.toString('latin1', at, at + 4) !== 'PE\0\0') return 'it is not a shared library';
  return otherProcessor(head.readUInt16LE(at + 4), expected);
}

/**
 * Returns which of the needed x64 instruction sets this processor lacks, or null. A library that uses one of them would
 * end the process.
 */
export function missingInstructions(needed: readonly string[], cpuinfo: string | null = readCpuinfo()): string | null {
  const flags = /^flags\s*:(.*)$/m.exec(cpuinfo ?? '')?.[1]?.split(/\s+/);
  if (flags === undefined) return null;
  const missing = needed.filter((instruction) => !flags.includes(instruction));
  return missing.length === 0 ? null : `this processor lacks the instructions ${missing.join(', ')}`;
}

function readCpuinfo(): string | null {
  if (process.platform !== 'linux' || process.arch !== 'x64') return null;
  try {
    return readFileSync('/proc/cpuinfo', 'utf8');
  } catch {
    return null;
  }
}
