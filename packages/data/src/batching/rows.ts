import { WhetstoneError } from '@whetstone/core/contract';
import { assignBestFit } from '../packing/best-fit.js';
import { pack } from '../packing/pack.js';
import type { PackedRows } from '../packing/packed-rows.js';
import type { BatchOptions } from './options.js';
import { datasetOrder } from './order.js';
import { isTarget, type TokenStore } from './token-store.js';

/**
 * The segments of samples in each row. Row `r` consists of the segments from `starts[r]` up to `starts[r + 1]`. Segment
 * `s` consists of the tokens from `offset[s]` up to `offset[s] + length[s]` of sample `sample[s]`.
 */
export interface RowTable {
  readonly starts: Int32Array;
  readonly sample: Int32Array;
  readonly offset: Int32Array;
  readonly length: Int32Array;
}

const rowCount = (table: RowTable): number => table.starts.length - 1;

/** Returns the number of tokens of each row. */
export function rowLengths(table: RowTable): Int32Array {
  return Int32Array.from({ length: rowCount(table) }, (_, row) => {
    let tokens = 0;
    for (let segment = table.starts[row] ?? 0; segment < (table.starts[row + 1] ?? 0); segment++)
      tokens += table.length[segment] ?? 0;
    return tokens;
  });
}

/** Creates a table with one complete sample per row, in the given order. */
export function oneSampleARow(order: Int32Array, lengthOf: (sample: number) => number): RowTable {
  return {
    starts: Int32Array.from({ length: order.length + 1 }, (_, index) => index),
    sample: order,
    offset: new Int32Array(order.length),
    length: order.map((sample) => lengthOf(sample)),
  };
}

/** Packs complete samples with best-fit-decreasing. The result equals that of `pack`, without an object per sample. */
function packComplete(samples: Int32Array, lengthOf: (sample: number) => number, capacity: number): RowTable {
  const lengths = samples.map(lengthOf);
  const { bins, binOf, order } = assignBestFit(lengths, capacity);
  const starts = new Int32Array(bins + 1);
  for (const bin of binOf) starts[bin + 1] = (starts[bin + 1] ?? 0) + 1;
  for (let bin = 0; bin < bins; bin++) starts[bin + 1] = (starts[bin + 1] ?? 0) + (starts[bin] ?? 0);
  const next = starts.slice(0, bins);
  const [sample, length] = [new Int32Array(samples.length), new Int32Array(samples.length)];
  for (const index of order) {
    const bin = binOf[index] ?? 0;
    const position = next[bin] ?? 0;
    next[bin] = position + 1;
    sample[position] = samples[index] ?? 0;
    length[position] = lengths[index] ?? 0;
  }
  return { starts, sample, offset: new Int32Array(samples.length), length };
}

/** Converts packed rows to a table. */
export function tableOfRows(rows: PackedRows): RowTable {
  const segments = rows.flat();
  const starts = new Int32Array(rows.length + 1);
  rows.forEach((row, index) => (starts[index + 1] = (starts[index] ?? 0) + row.length));
  return {
    starts,
    sample: Int32Array.from(segments, ({ sample }) => sample),
    offset: Int32Array.from(segments, ({ offset }) => offset),
    length: Int32Array.from(segments, ({ length }) => length),
  };
}

/** Returns whether a row has a target token. The first token of a segment is never predicted. */
function hasTarget(row: PackedRows[number], store: TokenStore): boolean {
  return row.some(({ sample, offset, length }) =>
    store
      .read(sample, offset, offset + length)
      .subarray(1)
      .some(isTarget),
  );
}

/**
 * Assigns samples to rows: packed, or one sample per row. Rows without target tokens, which result from splitting long
 * prompts, are dropped.
 *
 * @throws `CONFIG_CONFLICT` if samples are packed and `maxLength` is null
 */
export function layOutRows(store: TokenStore, samples: Int32Array, options: BatchOptions): RowTable {
  const { packing, packingStrategy, maxLength, shuffleDataset, seed } = options;
  const order = datasetOrder(samples, shuffleDataset, seed);
  if (!packing) return oneSampleARow(order, (sample) => store.lengthOf(sample));
  if (maxLength === null) {
    throw new WhetstoneError('CONFIG_CONFLICT', 'Packing needs the length of a row.', {
      expected: 'a number as "maxLength"',
      found: 'null',
      hint: 'Set "maxLength", or set "packing" to false.',
    });
  }
  if (packingStrategy === 'bfd')
    return packComplete(
      order.filter((sample) => store.lengthOf(sample) > 0),
      (sample) => Math.min(store.lengthOf(sample), maxLength),
      maxLength,
    );
  const lengths = Array.from(order, (sample) => ({ sample, length: store.lengthOf(sample) }));
  return tableOfRows(pack(lengths, maxLength, packingStrategy).filter((row) => hasTarget(row, store)));
}
