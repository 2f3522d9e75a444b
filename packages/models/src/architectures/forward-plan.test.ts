import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { planForward, type PlanInputs } from './forward-plan.js';
import { readShape } from './read-shape.js';
import { architectures } from './specs/index.js';

beforeAll(async () => {
  await tf.setBackend('cpu');
});

const shape = readShape(
  {
    model_type: 'llama',
    vocab_size: 50,
    hidden_size: 8,
    intermediate_size: 8,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    max_position_embeddings: 64,
  },
  'config.json',
  architectures,
);

/** Two rows of one segment: 1 2 3 and 1 2 4. */
const input = {
  rows: 2,
  length: 3,
  ids: Int32Array.of(1, 2, 3, 1, 2, 4),
  segmentIds: Int32Array.of(1, 1, 1, 1, 1, 1),
  positionIds: Int32Array.of(0, 1, 2, 0, 1, 2),
};
const frozenPrefix = { layers: 1 };
const plan = (inputs: Partial<PlanInputs> = {}) =>
  planForward({
    shape,
    input,
    positions: 'all',
    prefixLength: 0,
    promptLength: 0,
    frozenPrefix: null,
    ...inputs,
  });

test('all positions are computed and returned without a choice', () => {
  expect(plan()).toMatchObject({ tokens: { ids: input.ids }, distinct: null, outputs: null, keys: { count: 3 } });
});

test('a beginning that rows share is computed once', () => {
  const { tokens, outputs } = plan({ positions: Int32Array.of(2, 5) });
  expect([...tokens.ids]).toEqual([1, 2, 3, 4]);
  expect([...tokens.positionIds]).toEqual([0, 1, 2, 2]);
  expect([...(outputs?.tokens ?? [])]).toEqual([2, 3]);
  expect([...(outputs?.cells ?? [])]).toEqual([2, 5]);
});

test('frozen layers return the states of all tokens, so that none are merged', () => {
  const found = plan({ positions: Int32Array.of(2, 5), frozenPrefix });
  expect(found).toMatchObject({ frozen: frozenPrefix, distinct: null });
  expect([...found.tokens.ids]).toEqual([...input.ids]);
});

test.each([{ prefixLength: 2 }, { promptLength: 2 }])(
  'frozen layers are ignored with %o, which changes every layer',
  (added) => {
    expect(plan({ ...added, frozenPrefix }).frozen).toBeNull();
  },
);

test('prompt embeddings precede every row and shift positions, keys and outputs', () => {
  const { grid, keys, outputs } = plan({ promptLength: 2, positions: Int32Array.of(2, 3) });
  expect(grid.length).toBe(5);
  expect([...grid.positionIds]).toEqual([0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
  expect(keys.count).toBe(5);
  expect([...(outputs?.cells ?? [])]).toEqual([4, 7]);
});

test('prompt embeddings follow a prefix: the positions count on from its keys', () => {
  const { grid, keys } = plan({ prefixLength: 3, promptLength: 2 });
  // Keys of a row in order: 3 of the prefix at 0 to 2, the prompt at 3 and 4, the 3 tokens at 5 to 7.
  expect([...grid.positionIds]).toEqual([3, 4, 5, 6, 7, 3, 4, 5, 6, 7]);
  expect(keys.count).toBe(3 + 2 + 3);
});
