import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSafetensors, type TensorReader } from '@whetstone/core/safetensors';
import type { PackedFourBit } from '@whetstone/core/contract';
import { scalesOfBlocks, unpackOnHost } from '@whetstone/core/ops/internal';
import { dynamicCode, fourBitCodes, type FourBitType } from '../../packages/strategies/src/qlora/code-tables.js';
import { quantiseFourBit } from '../../packages/strategies/src/qlora/four-bit.js';
import { goldenPath, readGolden } from '../support/golden.js';
import { largestDifference } from '../support/model-numbers.js';

/** Returns the size of a stored tensor in bytes. */
function storedBytes({ packed, scales }: PackedFourBit): number {
  return (
    packed.byteLength +
    (scales.kind === 'single'
      ? scales.absmax.byteLength
      : scales.quantised.byteLength + scales.nestedAbsmax.byteLength + 4)
  );
}

interface Case {
  readonly key: string;
  readonly shape: number[];
  readonly dtype: string;
  readonly quant_type: FourBitType;
  readonly compress_statistics: boolean;
  readonly offset?: number;
}

interface Fixture {
  readonly nf4_code: number[];
  readonly fp4_code: number[];
  readonly tolerance: {
    readonly dequantized_rel: number;
    readonly nested_absmax_rel: number;
    readonly offset_rel: number;
  };
  readonly cases: Case[];
}

/**
 * Returns whether blocks of 64 cross the ends of rows although rows are a multiple of 32 wide. For such shapes, the
 * AVX-512 kernel of the reference applies the scale of the first element to 64 elements of a row, so that its product
 * differs from the fixture's formula. The test then uses the formula.
 */
const straddles = (shape: readonly number[]): boolean =>
  shape.length > 1 && (shape.at(-1) ?? 0) % 32 === 0 && (shape.at(-1) ?? 0) % 64 !== 0;

describe('4-bit quantisation equals bitsandbytes', () => {
  const fixture = readGolden<Fixture>('nf4', 'golden.json');
  const { tolerance } = fixture;
  let reader: TensorReader;
  beforeAll(async () => {
    reader = await openSafetensors(goldenPath('nf4', 'nf4.safetensors'));
  });
  afterAll(() => reader.close());

  const bytes = async (name: string): Promise<number[]> => [...((await reader.read(name)) as Uint8Array)];
  const relative = (one: ArrayLike<number>, other: ArrayLike<number>): number =>
    Math.max(
      ...Array.from(other, (value, index) => Math.abs((one[index] ?? NaN) - value) / Math.max(Math.abs(value), 1e-30)),
    );

  it('has fixtures', () => expect(fixture.cases.length).toBeGreaterThan(0));

  it('in the code tables', async () => {
    expect([...fourBitCodes.nf4]).toEqual(fixture.nf4_code);
    expect(largestDifference(fourBitCodes.fp4, fixture.fp4_code)).toBe(0);
    expect(largestDifference(dynamicCode(), await reader.readFloat32('nested_code'))).toBe(0);
  });

  it.each(fixture.cases)(
    'in $key',
    async ({ key, shape, dtype, quant_type: type, compress_statistics: doubleQuantisation, offset }) => {
      const input = await reader.readFloat32(`${key.slice(0, key.indexOf(`.${type}.`))}.input`);
      const quantised = quantiseFourBit(input, shape, type, { doubleQuantisation });
      expect([...quantised.packed]).toEqual(await bytes(`${key}.packed`));
      const { scales } = quantised;
      if (scales.kind === 'single')
        expect([...scales.absmax]).toEqual([...(await reader.readFloat32(`${key}.absmax`))]);
      else {
        expect(Math.abs(scales.offset - (offset ?? NaN))).toBeLessThanOrEqual(
          tolerance.offset_rel * Math.abs(offset ?? NaN),
        );
        expect([...scales.quantised]).toEqual(await bytes(`${key}.absmax`));
        const nested = await reader.readFloat32(`${key}.nested_absmax`);
        // Differences of nearly equal numbers, so the rounding error of the offset dominates.
        expect(largestDifference(scales.nestedAbsmax, nested)).toBeLessThanOrEqual(
          Math.max(tolerance.nested_absmax_rel * Math.max(...nested), tolerance.offset_rel * Math.abs(offset ?? 0)),
        );
      }
      const found = unpackOnHost(quantised);
      const expected = await reader.readFloat32(`${key}.dequantized`);
      if (straddles(shape)) {
        const code = type === 'nf4' ? fixture.nf4_code : fixture.fp4_code;
        const absmax = scalesOfBlocks(quantised);
        const byFormula = Array.from(
          input,
          (_, index) =>
            (code[((quantised.packed[index >> 1] ?? 0) >> (index % 2 === 0 ? 4 : 0)) & 15] ?? NaN) *
            (absmax[Math.floor(index / 64)] ?? NaN),
        );
        expect(relative(found, byFormula)).toBeLessThanOrEqual(tolerance.dequantized_rel);
        return;
      }
      // The reference rounds bfloat16 results to 8 bits of mantissa.
      expect(relative(found, expected)).toBeLessThanOrEqual(
        dtype === 'bfloat16' ? 2 ** -8 : 2 * tolerance.dequantized_rel,
      );
    },
  );

  it('stores at most 0.6 bytes per element', () => {
    const values = Float32Array.from({ length: 64 * 1024 }, (_, index) => Math.sin(index));
    expect(
      storedBytes(quantiseFourBit(values, [64, 1024], 'nf4', { doubleQuantisation: true })) / values.length,
    ).toBeLessThan(0.52);
    expect(
      storedBytes(quantiseFourBit(values, [64, 1024], 'nf4', { doubleQuantisation: false })) / values.length,
    ).toBeLessThan(0.6);
  });
});
