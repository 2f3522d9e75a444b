import { describe, expect, test } from 'vitest';
import { collate } from '../../packages/data/src/batching/collate.js';
import { createTokenStore } from '../../packages/data/src/batching/token-store.js';
import { pack } from '@whetstone/data';
import { tableOfRows } from '../../packages/data/src/batching/rows.js';
import type { PackingStrategy } from '../../packages/data/src/packing/pack.js';
import { readGolden } from '../support/golden.js';

// Expected values: TRL's pack_dataset and its padding-free collator. Token values are a running index over all samples;
// two of three are target tokens.
interface Case {
  readonly seq_length: number;
  readonly lengths: readonly number[];
  readonly strategy: PackingStrategy;
  readonly packed_input_ids: readonly (readonly number[])[];
  readonly packed_labels: readonly (readonly number[])[];
  readonly seq_lengths?: readonly (readonly number[])[];
  readonly position_ids?: readonly (readonly number[])[];
  readonly mask_row?: number;
  readonly block_diagonal_causal_mask?: readonly string[];
  readonly collated_first_two_rows?: {
    readonly input_ids: readonly [readonly number[]];
    readonly labels: readonly [readonly number[]];
    readonly position_ids: readonly [readonly number[]];
    readonly cu_seq_lens_q: readonly number[];
  };
  readonly error?: string;
}

const { cases } = readGolden<{ readonly cases: readonly Case[] }>('packing', 'golden.json');

/** Packs the samples of a case. */
function packCase({ lengths, seq_length: capacity, strategy }: Case) {
  const store = createTokenStore();
  let next = 0;
  const samples = lengths.map((length) => {
    const ids = Array.from({ length }, (_, index) => next + index);
    next += length;
    return {
      sample: store.add(
        ids,
        Uint8Array.from(ids, (id) => (id % 3 === 0 ? 0 : 1)),
      ),
      length,
    };
  });
  const rows = pack(samples, capacity, strategy);
  const batch = collate(
    rows.map((_, index) => index),
    tableOfRows(rows),
    store,
    { padTokenId: 0, padToMultipleOf: null },
  );
  /** Returns the values of a row without padding. */
  const at = (values: Int32Array, row: number): number[] =>
    [...values.subarray(row * batch.length, (row + 1) * batch.length)].filter(
      (_, index) => (batch.segmentIds[row * batch.length + index] ?? 0) !== 0,
    );
  return { rows, batch, at };
}

describe('packing equals TRL', () => {
  test('has fixtures', () => expect(cases.length).toBeGreaterThan(0));

  test.each(cases.map((golden) => [golden.strategy, golden.seq_length, golden.lengths.length, golden] as const))(
    '%s into %i: %i samples',
    (_strategy, _capacity, _count, golden) => {
      const { rows, batch, at } = packCase(golden);
      const row = Array.from({ length: rows.length }, (_, index) => index);
      expect(row.map((index) => at(batch.ids, index))).toEqual(golden.packed_input_ids);
      if (golden.seq_lengths)
        expect(rows.map((segments) => segments.map(({ length }) => length))).toEqual(golden.seq_lengths);
      if (golden.position_ids) expect(row.map((index) => at(batch.positionIds, index))).toEqual(golden.position_ids);
      // TRL's labels, without those at the start of a segment, which the collator also removes.
      const labels = golden.packed_labels.map((values, index) =>
        values.map((label, token) => (at(batch.positionIds, index)[token] === 0 ? -100 : label)),
      );
      expect(row.map((index) => at(batch.labels, index))).toEqual(labels);
      expect(batch.supervisedTokens).toBe(labels.flat().filter((label) => label !== -100).length);

      const collated = golden.collated_first_two_rows;
      if (collated) {
        const two = row.slice(0, 2);
        expect(two.flatMap((index) => at(batch.ids, index))).toEqual(collated.input_ids[0]);
        expect(two.flatMap((index) => at(batch.labels, index))).toEqual(collated.labels[0]);
        expect(two.flatMap((index) => at(batch.positionIds, index))).toEqual(collated.position_ids[0]);
        const ends = two.flatMap((index) => (rows[index] ?? []).map(({ length }) => length));
        expect(collated.cu_seq_lens_q).toEqual(ends.reduce((all, length) => [...all, (all.at(-1) ?? 0) + length], [0]));
      }
      if (golden.block_diagonal_causal_mask && golden.mask_row !== undefined) {
        const segments = at(batch.segmentIds, golden.mask_row);
        const mask = segments.map((segment, query) =>
          segments.map((other, key) => (key <= query && other === segment ? '1' : '0')).join(''),
        );
        expect(mask).toEqual(golden.block_diagonal_causal_mask);
      }
    },
  );
});
