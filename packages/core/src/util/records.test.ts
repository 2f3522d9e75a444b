import { expect, it } from 'vitest';
import { isNestedDeeper } from './records.js';

const nested = (depth: number, open: string, close: string): unknown =>
  JSON.parse(open.repeat(depth) + '1' + close.repeat(depth));

it('measures how deep lists and objects are nested', () => {
  expect(isNestedDeeper(1, 0)).toBe(false);
  expect(isNestedDeeper([], 0)).toBe(true);
  expect(isNestedDeeper({ a: [1], b: { c: [] } }, 3)).toBe(false);
  expect(isNestedDeeper({ a: [1], b: { c: [] } }, 2)).toBe(true);
  expect(isNestedDeeper(nested(200, '[', ']'))).toBe(false);
  expect(isNestedDeeper(nested(201, '{"a":', '}'))).toBe(true);
  expect(isNestedDeeper(nested(1_000_000, '[', ']'))).toBe(true);
});
