import { expect, test } from 'vitest';
import { pack } from '../packing/pack.js';
import { defaultBatchOptions } from './options.js';
import { datasetOrder } from './order.js';
import { layOutRows, tableOfRows } from './rows.js';
import { createTokenStore } from './token-store.js';

test('packed rows equal those of pack: empty samples are dropped, long ones truncated', () => {
  const store = createTokenStore();
  // Lengths from 0 to 44, many of them equal, in rows of 30.
  for (let sample = 0; sample < 400; sample++) {
    const length = (sample * 7919) % 45;
    store.add(new Int32Array(length).fill(1), new Uint8Array(length).fill(1));
  }
  for (const shuffleDataset of [true, false]) {
    const options = { ...defaultBatchOptions, packing: true, maxLength: 30, shuffleDataset, seed: 5 };
    const samples = Int32Array.from({ length: store.samples }, (_, sample) => sample);
    const expected = tableOfRows(
      pack(
        Array.from(datasetOrder(samples, shuffleDataset, 5), (sample) => ({ sample, length: store.lengthOf(sample) })),
        30,
        'bfd',
      ),
    );
    expect(expected.sample.length).toBeLessThan(400);
    expect(layOutRows(store, samples, options)).toEqual(expected);
  }
});
