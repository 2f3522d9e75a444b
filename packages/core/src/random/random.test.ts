import { expect, test } from 'vitest';
import { createRandom, fillFloat32, permutation } from './index.js';

test('a seed and a purpose determine a stream, independently of other streams', () => {
  const first = createRandom(7, 'rows', 1);
  const numbers = [first.uniform(), first.normal(), first.integer(100)];
  const again = createRandom(7, 'rows', 1);
  createRandom(7, 'rows', 2).uniform();
  expect([again.uniform(), again.normal(), again.integer(100)]).toEqual(numbers);
  for (const other of [createRandom(8, 'rows', 1), createRandom(7, 'rows', 2), createRandom(7)])
    expect(other.uniform()).not.toBe(numbers[0]);
});

test('a stream continues from a saved state, also after JSON', () => {
  const random = createRandom(3, 'dropout');
  for (let draw = 0; draw < 5; draw++) random.normal();
  const saved = JSON.parse(JSON.stringify(random.saveState())) as number[];
  const expected = Array.from({ length: 4 }, () => random.uniform());
  const resumed = createRandom(3, 'dropout');
  resumed.loadState(saved);
  expect(Array.from({ length: 4 }, () => resumed.uniform())).toEqual(expected);
});

test('the distributions have the right moments: 1/2 and 1/12; 0 and 1; equally frequent integers', () => {
  const random = createRandom(1);
  const count = 40_000;
  const moments = (values: Float32Array): readonly [number, number] => {
    const mean = values.reduce((sum, value) => sum + value, 0) / count;
    return [mean, values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / count];
  };
  // The tolerances are four standard errors: 0.29 / 200 and 1 / 200.
  const [uniformMean, uniformVariance] = moments(fillFloat32(count, random.uniform));
  expect(Math.abs(uniformMean - 0.5)).toBeLessThan(0.006);
  expect(Math.abs(uniformVariance - 1 / 12)).toBeLessThan(0.002);
  const [mean, variance] = moments(fillFloat32(count, random.normal));
  expect(Math.abs(mean)).toBeLessThan(0.02);
  expect(Math.abs(variance - 1)).toBeLessThan(0.03);
  const drawn = Array.from({ length: count }, () => random.integer(4));
  for (const number of [0, 1, 2, 3])
    expect(Math.abs(drawn.filter((one) => one === number).length / count - 0.25)).toBeLessThan(0.009);
});

test('a permutation contains every number once, in a different order', () => {
  const order = permutation(50, createRandom(2));
  expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, index) => index));
  expect([...order]).not.toEqual(Array.from({ length: 50 }, (_, index) => index));
});
