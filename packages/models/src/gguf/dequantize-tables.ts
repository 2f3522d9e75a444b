/**
 * Dequantises ggml's types that use tables or powers instead of uniform steps: IQ4 (a non-linear table of 16 values),
 * MXFP4 (four-bit floats) and TQ (three values).
 */
import { half } from './half.js';

type Block = (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void;

const at8 = (bytes: Uint8Array, at: number): number => bytes[at] ?? 0;
const at16 = (bytes: Uint8Array, at: number): number => at8(bytes, at) | (at8(bytes, at + 1) << 8);

const IQ4_VALUES = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/** The values of the format E2M1, doubled. */
const E2M1 = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/** Reads 32 numbers from 16 bytes; nibbles are indices into `table`, and the low nibbles come first. */
function nibbles(
  table: readonly number[],
  scale: number,
  bytes: Uint8Array,
  at: number,
  out: Float32Array,
  to: number,
): void {
  for (let i = 0; i < 16; i++) {
    const byte = at8(bytes, at + i);
    out[to + i] = scale * (table[byte & 15] ?? 0);
    out[to + 16 + i] = scale * (table[byte >> 4] ?? 0);
  }
}

const iq4nl: Block = (bytes, at, out, to) => nibbles(IQ4_VALUES, half(at16(bytes, at)), bytes, at + 2, out, to);

/**
 * Eight sub-blocks of 32 with six-bit scales: the low four bits are in nibbles, the high two bits in one 16-bit word.
 */
const iq4xs: Block = (bytes, at, out, to) => {
  const d = half(at16(bytes, at));
  const high = at16(bytes, at + 2);
  for (let sub = 0; sub < 8; sub++) {
    const low = (at8(bytes, at + 4 + (sub >> 1)) >> ((sub & 1) * 4)) & 15;
    nibbles(
      IQ4_VALUES,
      d * ((low | (((high >> (2 * sub)) & 3) << 4)) - 32),
      bytes,
      at + 8 + sub * 16,
      out,
      to + sub * 32,
    );
  }
};

/** 32 numbers share a power of two, which is halved because the table is doubled. */
const mxfp4: Block = (bytes, at, out, to) => nibbles(E2M1, 2 ** (at8(bytes, at) - 128), bytes, at + 1, out, to);

const tq2: Block = (bytes, at, out, to) => {
  const d = half(at16(bytes, at + 64));
  for (let i = 0; i < 256; i++)
    out[to + i] = d * (((at8(bytes, at + (i >> 7) * 32 + (i & 31)) >> (((i >> 5) & 3) * 2)) & 3) - 1);
};

const POWERS = [1, 3, 9, 27, 81];
/**
 * Returns digit n of five base-3 digits in a byte, minus 1. The digit is the integer part of 3·(byte·3ⁿ mod 256) ÷ 256.
 */
const digit = (byte: number, n: number): number => ((((byte * (POWERS[n] ?? 1)) & 255) * 3) >> 8) - 1;

const tq1: Block = (bytes, at, out, to) => {
  const d = half(at16(bytes, at + 52));
  for (let n = 0; n < 5; n++) {
    for (let i = 0; i < 32; i++) out[to + n * 32 + i] = d * digit(at8(bytes, at + i), n);
    for (let i = 0; i < 16; i++) out[to + 160 + n * 16 + i] = d * digit(at8(bytes, at + 32 + i), n);
    if (n < 4) for (let i = 0; i < 4; i++) out[to + 240 + n * 4 + i] = d * digit(at8(bytes, at + 48 + i), n);
  }
};

/** Block sizes and readers by type. */
export const tableBlocks: Readonly<
  Record<string, { readonly bytes: number; readonly elements: number; readonly read: Block }>
> = {
  IQ4_NL: { bytes: 18, elements: 32, read: iq4nl },
  IQ4_XS: { bytes: 136, elements: 256, read: iq4xs },
  MXFP4: { bytes: 17, elements: 32, read: mxfp4 },
  TQ1_0: { bytes: 54, elements: 256, read: tq1 },
  TQ2_0: { bytes: 66, elements: 256, read: tq2 },
};
