import { closeSync, openSync, readSync, statSync } from 'node:fs';

/** `e_machine` of ELF files by Node's names. */
const machines: Readonly<Record<string, number>> = { x64: 62, arm64: 183 };
const LOADED = 1;

/**
 * Refuses a file that the system's loader would come to grief over: of a library that was cut short it maps what is not there, and the process dies of it.
 * Looks at ELF files' heads only; other systems' loaders look for themselves. Throws an `Error` that says what is wrong.
 */
export function refuseBroken(path: string, platform: string = process.platform, arch: string = process.arch): void {
  if (platform !== 'linux') return;
  const { size } = statSync(path);
  const file = openSync(path, 'r');
  try {
    const read = (at: number, length: number): DataView => {
      const bytes = new Uint8Array(length);
      if (at + length > size || readSync(file, bytes, 0, length, at) < length) throw new Error(`${path} was cut short.`);
      return new DataView(bytes.buffer);
    };
    if (size < 64 || read(0, 4).getUint32(0) !== 0x7f454c46) throw new Error(`${path} is no shared library.`);
    const head = read(0, 64);
    const machine = machines[arch];
    if (head.getUint8(4) !== 2 || (machine !== undefined && head.getUint16(18, true) !== machine)) throw new Error(`${path} is for another kind of processor than ${arch}.`);
    const [table, entry, count] = [Number(head.getBigUint64(32, true)), head.getUint16(54, true), head.getUint16(56, true)];
    for (let index = 0; index < count; index++) {
      const segment = read(table + index * entry, 56);
      const end = Number(segment.getBigUint64(8, true) + segment.getBigUint64(32, true));
      if (segment.getUint32(0, true) === LOADED && end > size) throw new Error(`${path} was cut short: it has ${size} of at least ${end} bytes.`);
    }
  } finally {
    closeSync(file);
  }
}
