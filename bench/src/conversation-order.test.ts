import { expect, test } from 'vitest';
import { orderOfSteps } from './conversation-order.js';

const lines = Array.from({ length: 50 }, (_, index) => `${index}:`.padEnd(5 + ((index * 37) % 50), 'x'));

test('every order holds the same lines, each at most once an epoch', () => {
  const random = orderOfSteps(lines, 6, 8, 'random');
  expect(new Set(random).size).toBe(48);
  expect(random).toEqual(orderOfSteps(lines, 6, 8, 'random'));
  expect(random).not.toEqual(lines.slice(0, 48));
  expect(orderOfSteps(lines, 6, 8, 'by-length').toSorted()).toEqual(random.toSorted());
});

test('more steps than there are lines for go through them again, in another order', () => {
  const ordered = orderOfSteps(lines, 25, 4, 'random');
  expect(ordered).toHaveLength(100);
  expect(ordered.slice(0, 50).toSorted()).toEqual(ordered.slice(50).toSorted());
  expect(ordered.slice(0, 50)).not.toEqual(ordered.slice(50));
});

test('by length, a batch holds neighbours in length, and the batches are not sorted', () => {
  const ordered = orderOfSteps(lines, 6, 8, 'by-length').map((line) => line.length);
  const batches = Array.from({ length: 6 }, (_, step) => ordered.slice(8 * step, 8 * step + 8));
  const sorted = ordered.toSorted((a, b) => a - b);
  for (const batch of batches) {
    const start = sorted.indexOf(Math.min(...batch));
    expect(batch).toEqual(sorted.slice(start, start + 8));
  }
  expect(ordered).not.toEqual(sorted);
});
