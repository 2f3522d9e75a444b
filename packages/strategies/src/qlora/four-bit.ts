import { WhetstoneError, type DoubleScales, type PackedFourBit } from '@whetstone/core/contract';
import {
  BUCKETS,
  decisionTable,
  dynamicCode,
  fourBitCodes,
  intervalOf,
  type DecisionTable,
  type FourBitType,
} from './code-tables.js';
import { sizeOfShape } from '@whetstone/core/util';

/** Elements that share a scale. */
const blockSize = 64;
const nestedBlockSize = 256;
/** Lower bound of a maximum that is used as a divisor. */
const smallestMaximum = Math.fround(1e-38);

const tables: Readonly<Record<FourBitType, DecisionTable>> = {
  nf4: decisionTable(fourBitCodes.nf4),
  fp4: decisionTable(fourBitCodes.fp4),
};
const nestedCode = dynamicCode();
const nestedTable = decisionTable(nestedCode);

interface Blocks {
  readonly absmax: Float32Array;
  /** Nibble of each element. */
  readonly codes: Uint8Array;
}

const largestOf = (values: Float32Array, start: number, end: number): number => {
  let largest = 0;
  for (let index = start; index < end; index++) {
    const magnitude = Math.abs(values[index] as number);
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
};

/**
 * Quantises blocks of 64 by a code, with the float32 rounding of bitsandbytes: full blocks are multiplied by the
 * rounded reciprocal of their maximum, a shorter last block is divided by it.
 */
function quantiseBlocks(values: Float32Array, table: DecisionTable): Blocks {
  const { starts, thresholds, nibbles } = table;
  const count = Math.ceil(values.length / blockSize);
  const absmax = new Float32Array(count);
  const codes = new Uint8Array(values.length);
  for (let block = 0; block < count; block++) {
    const start = block * blockSize;
    const end = Math.min(start + blockSize, values.length);
    const isFull = end - start === blockSize;
    const largest = largestOf(values, start, end);
    absmax[block] = isFull ? largest : Math.max(largest, smallestMaximum);
    const divisor = Math.max(largest, smallestMaximum);
    const reciprocal = Math.fround(1 / divisor);
    for (let index = start; index < end; index++) {
      const value = values[index] as number;
      const scaled = Math.fround(isFull ? value * reciprocal : value / divisor);
      const clamped = scaled > 1 ? 1 : scaled < -1 ? -1 : scaled;
      // intervalOf, inlined because it runs for every number of a model.
      let interval = starts[Math.floor((clamped + 1) * (BUCKETS / 2))] as number;
      while (interval < thresholds.length && (thresholds[interval] as number) < clamped) interval++;
      codes[index] = nibbles[interval] as number;
    }
  }
  return { absmax, codes };
}

/** Computes a pairwise sum in float32, which is close enough to torch's sum for the mean of block maxima. */
function pairwiseSum(values: Float32Array, start: number, end: number): number {
  if (end - start <= 8) return values.subarray(start, end).reduce((sum, value) => Math.fround(sum + value), 0);
  const middle = (start + end) >> 1;
  return Math.fround(pairwiseSum(values, start, middle) + pairwiseSum(values, middle, end));
}

/** Quantises block maxima to 8 bits (double quantisation). */
function compressScales(absmax: Float32Array): DoubleScales {
  const offset = Math.fround(pairwiseSum(absmax, 0, absmax.length) / absmax.length);
  const centred = absmax.map((value) => value - offset);
  const nestedAbsmax = Float32Array.from({ length: Math.ceil(centred.length / nestedBlockSize) }, (_, block) =>
    largestOf(centred, block * nestedBlockSize, Math.min((block + 1) * nestedBlockSize, centred.length)),
  );
  const quantised = Uint8Array.from(centred, (value, index) => {
    const largest = nestedAbsmax[Math.floor(index / nestedBlockSize)] ?? 0;
    return largest === 0 ? 0 : nestedCodeOf(Math.fround(value * Math.fround(1 / largest)));
  });
  return { kind: 'double', quantised, nestedAbsmax, offset, code: nestedCode };
}

/**
 * Returns the 8-bit code of a value as bitsandbytes does: the value is rounded to one of 65,536 equal steps of [−1, 1],
 * which determines the code.
 */
function nestedCodeOf(value: number): number {
  const step = Math.floor(Math.fround(Math.fround(Math.fround(value + 1) * 32767.5) + 0.5));
  return intervalOf(nestedTable, Math.min(1, Math.max(-1, Math.fround(-1 + (2 * step) / 65535))));
}

/**
 * Quantises to 4 bits in blocks of 64 along the flattened tensor (QLoRA, Dettmers et al. 2023).
 * Bytes and values equal those of bitsandbytes' `quantize_4bit`.
 *
 * @param options.doubleQuantisation Whether block maxima are quantised too: 4.13 instead of 4.5 bits per element.
 * @param options.transposed Whether `values` is the transpose of the matrix with `shape`.
 * @throws `INTERNAL` if the sizes of values and shape differ
 */
export function quantiseFourBit(
  values: Float32Array,
  shape: readonly number[],
  type: FourBitType,
  options: { readonly doubleQuantisation: boolean; readonly transposed?: boolean },
): PackedFourBit {
  if (sizeOfShape(shape) !== values.length) {
    throw new WhetstoneError('INTERNAL', 'The sizes of values and shape differ.', {
      expected: `[${shape.join(', ')}]`,
      found: `${values.length} values`,
    });
  }
  const { absmax, codes } = quantiseBlocks(values, tables[type]);
  // With an odd number of elements, the unused nibble encodes 0.
  const zero = tables[type].nibbles[intervalOf(tables[type], 0)] ?? 0;
  const packed = new Uint8Array(Math.ceil(values.length / 2));
  for (let index = 0; index < packed.length; index++)
    packed[index] = ((codes[2 * index] ?? zero) << 4) | (codes[2 * index + 1] ?? zero);
  return {
    format: type,
    shape,
    transposed: options.transposed ?? false,
    code: fourBitCodes[type],
    packed,
    scales: options.doubleQuantisation ? compressScales(absmax) : { kind: 'single', absmax },
  };
}
