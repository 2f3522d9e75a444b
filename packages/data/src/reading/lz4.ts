/**
 * Decompresses LZ4 blocks: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md. Every length is compared with
 * what is left of the input and of the output, so that damaged bytes neither loop nor leave zeros in the output.
 */

const damaged = (): Error => new Error('a page that is compressed with LZ4 is damaged');

/** Returns a length and the position after it: 15 or more continues in the bytes that follow. */
function lengthAt(input: Uint8Array, start: number, nibble: number): [length: number, at: number] {
  let [length, at] = [nibble, start];
  if (nibble < 15) return [length, at];
  for (;;) {
    const byte = input[at++];
    if (byte === undefined) throw damaged();
    length += byte;
    if (byte < 255) return [length, at];
  }
}

/** Copies bytes of the output that may overlap with their copy. */
function copyMatch(output: Uint8Array, to: number, offset: number, length: number): void {
  if (offset >= length) output.copyWithin(to, to - offset, to - offset + length);
  else for (let index = to; index < to + length; index++) output[index] = output[index - offset] ?? 0;
}

/** Decompresses a block into an output of exactly its length. @throws if the block is damaged */
function decompressBlock(input: Uint8Array, output: Uint8Array): void {
  let [at, to] = [0, 0];
  while (at < input.length) {
    const token = input[at++] ?? 0;
    let length: number;
    [length, at] = lengthAt(input, at, token >> 4);
    if (length > input.length - at || length > output.length - to) throw damaged();
    output.set(input.subarray(at, at + length), to);
    at += length;
    to += length;
    // The last sequence has no match.
    if (at === input.length) break;
    const offset = (input[at] ?? 0) + 256 * (input[at + 1] ?? 0);
    [length, at] = lengthAt(input, at + 2, token & 15);
    length += 4;
    if (at > input.length || offset === 0 || offset > to || length > output.length - to) throw damaged();
    copyMatch(output, to, offset, length);
    to += length;
  }
  if (to !== output.length) throw damaged();
}

/** Decompresses a page of the codec LZ4_RAW: one block. @throws if it is damaged */
export function decompressLz4Raw(input: Uint8Array, length: number): Uint8Array {
  const output = new Uint8Array(length);
  decompressBlock(input, output);
  return output;
}

/**
 * Decompresses a page of the deprecated codec LZ4: blocks as Hadoop writes them, each behind its decompressed and its
 * compressed length, or, as other writers understood the codec, one block.
 *
 * @throws if it is damaged
 */
export function decompressLz4(input: Uint8Array, length: number): Uint8Array {
  return decompressHadoop(input, length) ?? decompressLz4Raw(input, length);
}

function decompressHadoop(input: Uint8Array, length: number): Uint8Array | null {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const output = new Uint8Array(length);
  let [at, to] = [0, 0];
  while (at < input.length) {
    if (input.length - at < 8) return null;
    const [decompressed, compressed] = [view.getUint32(at), view.getUint32(at + 4)];
    at += 8;
    if (decompressed > length - to || compressed > input.length - at) return null;
    try {
      decompressBlock(input.subarray(at, at + compressed), output.subarray(to, to + decompressed));
    } catch {
      return null;
    }
    at += compressed;
    to += decompressed;
  }
  return to === length ? output : null;
}
