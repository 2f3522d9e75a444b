import { expect, it } from 'vitest';
import { frozen } from './frozen.js';

it('freezes data in depth, but nothing that has methods', () => {
  class Model {
    training = false;
  }
  const model = new Model();
  const tokenizer = { encode: () => [1], cache: [1] };
  const ids = Int32Array.of(1);
  const value = { metrics: { loss: 1 }, list: [{ a: 1 }], loaded: { model, tokenizer, ids } };
  expect(frozen(value)).toBe(value);
  expect([value, value.metrics, value.list, value.list[0], value.loaded].every(Object.isFrozen)).toBe(true);
  expect([model, tokenizer, tokenizer.cache, ids].some(Object.isFrozen)).toBe(false);
  expect(frozen(null)).toBeNull();
});
