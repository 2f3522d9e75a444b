import type { Batch, ConsumedBatches } from '@whetstone/core/contract';
import { describe, expect, it } from 'vitest';
import { characterTokenizer, plainRenderer } from '../testing/fakes.js';
import { collect } from '../testing/files.js';
import { chat, sourceOf } from '../testing/sources.js';
import { createBatchSource } from './batch-source.js';
import type { BatchOptions } from './options.js';

/** Conversations of different lengths, each with a number of its own. */
const conversations = Array.from({ length: 23 }, (_, index) => chat('?'.repeat((index * 7) % 11), `reply ${index}!`));

const sourceWith = (options: Partial<BatchOptions>) =>
  createBatchSource({
    source: sourceOf(conversations),
    tokenizer: characterTokenizer,
    renderer: plainRenderer,
    options: { seed: 3, maxLength: 120, ...options },
  });

/** Returns the numbers of the conversations in batches. */
const numbersIn = (batches: readonly Batch[]): number[] =>
  batches.flatMap(({ ids }) =>
    [...characterTokenizer.decode([...ids]).matchAll(/reply (\d+)!/g)].map(([, number]) => Number(number)),
  );

const sizes = (batchSize: number, tokensPerBatch: number | null = null) => ({
  batchSize,
  tokensPerBatch,
  padToMultipleOf: null,
});

const cases: Readonly<Record<string, Partial<BatchOptions>>> = {
  random: { samplingStrategy: 'random' },
  sequential: { samplingStrategy: 'sequential', shuffleDataset: false },
  'grouped by length': { samplingStrategy: 'group_by_length' },
  'mixed lengths': { samplingStrategy: 'mixed_length' },
  packed: { packing: true },
  'shared rows': { paddingFree: true },
  'a curriculum': { curriculum: { by: 'length', epochs: 2 } as BatchOptions['curriculum'] },
};

describe('an epoch that continues with another batch size', () => {
  it.each(Object.keys(cases))('has every conversation exactly once: %s', async (name) => {
    const options = cases[name] ?? {};
    const of = (batchSize: number) => sourceWith({ ...options, batchSize });
    const [two, three, five] = [await of(2), await of(3), await of(5)];
    for (const epoch of [0, 1]) {
      const first = (await collect(two.epoch(epoch))).slice(0, 2);
      const once: ConsumedBatches[] = [{ ...sizes(2), ranges: [{ begin: 0, end: 2 }] }];
      const begin = three.batchesPerEpoch - three.batchesLeft(epoch, once);
      const second = (await collect(three.epoch(epoch, { skip: begin, consumed: once }))).slice(0, 1);
      const twice = [...once, { ...sizes(3), ranges: [{ begin: 0, end: begin + 1 }] }];
      const rest = await collect(five.epoch(epoch, { consumed: twice }));
      expect(rest).toHaveLength(five.batchesLeft(epoch, twice));
      expect(numbersIn([...first, ...second, ...rest]).toSorted((a, b) => a - b)).toEqual(
        conversations.map((_, index) => index),
      );
      // A checkpoint in the middle of the rest continues there.
      const at = five.batchesPerEpoch - rest.length + 1;
      expect(numbersIn(await collect(five.epoch(epoch, { skip: at, consumed: twice })))).toEqual(
        numbersIn(rest.slice(1)),
      );
    }
  });

  it('continues at the same sample of the same order', async () => {
    const [two, three] = [await sourceWith({ batchSize: 2 }), await sourceWith({ batchSize: 3 })];
    const order = numbersIn(await collect(two.epoch(1)));
    const consumed = [{ ...sizes(2), ranges: [{ begin: 0, end: 4 }] }];
    expect(numbersIn(await collect(three.epoch(1, { consumed })))).toEqual(order.slice(8));
  });

  it('continues with a token budget', async () => {
    const [rows, tokens] = [await sourceWith({ batchSize: 2 }), await sourceWith({ tokensPerBatch: 130 })];
    const first = (await collect(rows.epoch(0))).slice(0, 3);
    const consumed = [{ ...sizes(2), ranges: [{ begin: 0, end: 3 }] }];
    const rest = await collect(tokens.epoch(0, { consumed }));
    expect(numbersIn([...first, ...rest]).toSorted((a, b) => a - b)).toEqual(conversations.map((_, index) => index));
  });
});
