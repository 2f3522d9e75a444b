import { WhetstoneError } from '@whetstone/core/contract';
import { assignBestFit } from '../packing/best-fit.js';
import { pack } from '../packing/pack.js';
import type { PackedRows } from '../packing/packed-rows.js';
import type { BatchOptions } from './options.js';
import { datasetOrder } from './order.js';
import { isTarget, type TokenStore } from './token-store.js';

/**
 * The contents of each row of a batch: segments of samples, end to end. Row `r` holds the segments from `starts[r]` up
 * to `starts[r + 1]`. Segment `p` is the tokens from `offset[p]` up to `offset[p] + length[p]` of sample `sample[p]`.
 */
export interface RowTable {
  readonly starts: Int32Array;
  readonly sample: Int32Array;
  readonly offset: Int32Array;
  readonly length: Int32Array;
}

const rowCount = (table: RowTable): number => table.starts.length - 1;

/** Tokens of each row. */
export function rowLengths(table: RowTable): Int32Array {
  return Int32Array.from({ length: rowCount(table) }, (_, row) => {
    let tokens = 0;
    for (let segment = table.starts[row] ?? 0; segment < (table.starts[row + 1] ?? 0); segment++)
      tokens += table.length[segment] ?? 0;
    return tokens;
  });
}

/** One whole sample a row, in the order given. */
export function oneSampleARow(order: Int32Array, lengthOf: (sample: number) => number): RowTable {
  return {
    starts: Int32Array.from({ length: order.length + 1 }, (_, index) => index),
    sample: order,
    offset: new Int32Array(order.length),
    length: order.map((sample) => lengthOf(sample)),
  };
}

/** Whole samples in as few rows as best-fit-decreasing needs: what `pack` makes of them, without an object a sample. */
function packWhole(samples: Int32Array, lengthOf: (sample: number) => number, capacity: number): RowTable {
  const lengths = samples.map(lengthOf);
  const { bins, binOf, order } = assignBestFit(lengths, capacity);
  const starts = new Int32Array(bins + 1);
  for (const bin of binOf) starts[bin + 1] = (starts[bin + 1] ?? 0) + 1;
  for (let bin = 0; bin < bins; bin++) starts[bin + 1] = (starts[bin + 1] ?? 0) + (starts[bin] ?? 0);
  const next = starts.slice(0, bins);
  const [sample, length] = [new Int32Array(samples.length), new Int32Array(samples.length)];
  for (const index of order) {
    const bin = binOf[index] ?? 0;
    const place = next[bin] ?? 0;
    next[bin] = place + 1;
    sample[place] = samples[index] ?? 0;
    length[place] = lengths[index] ?? 0;
  }
  return { starts, sample, offset: new Int32Array(samples.length), length };
}

/** Packed rows as a table. */
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

/** Whether a row has a token to learn that something predicts. */
function teaches(row: PackedRows[number], store: TokenStore): boolean {
  return row.some(({ sample, offset, length }) =>
    store
      .read(sample, offset, offset + length)
      .subarray(1)
      .some(isTarget),
  );
}

/**
 * Puts samples of a store into rows: packed, or one a row. Rows that splitting left without a target (a long prompt)
 * are left out.
 *
 * @throws CONFIG_CONFLICT where rows are to be packed and no length is given
 */
export function layOutRows(store: TokenStore, samples: Int32Array, options: BatchOptions): RowTable {
  const { packing, packingStrategy, maxLength, shuffleDataset, seed } = options;
  const order = datasetOrder(samples, shuffleDataset, seed);
  if (!packing) return oneSampleARow(order, (sample) => store.lengthOf(sample));
  if (maxLength === null) {
    throw new WhetstoneError('CONFIG_CONFLICT', 'Packing needs to know how long a row may be.', {
      expected: 'a number as "maxLength"',
      found: 'null',
      hint: 'Set "maxLength", or turn "packing" off.',
    });
  }
  if (packingStrategy === 'bfd')
    return packWhole(
      order.filter((sample) => store.lengthOf(sample) > 0),
      (sample) => Math.min(store.lengthOf(sample), maxLength),
      maxLength,
    );
  const lengths = Array.from(order, (sample) => ({ sample, length: store.lengthOf(sample) }));
  return tableOfRows(pack(lengths, maxLength, packingStrategy).filter((row) => teaches(row, store)));
}
