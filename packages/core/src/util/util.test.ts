import { describe, expect, test } from 'vitest';
import { fnv1a, fnv1aStep, FNV_OFFSET, isRecord, LruMap, messageOf, sameShape, sizeOfShape, toError } from './index.js';

describe('fnv1a', () => {
  // Test vectors of the Internet-Draft draft-eastlake-fnv, 32 bits.
  test.each([
    ['', 0x811c9dc5],
    ['a', 0xe40c292c],
    ['foobar', 0xbf9cf968],
  ])('the hash of %j is the published one', (text, expected) => {
    expect(fnv1a(new TextEncoder().encode(text))).toBe(expected);
  });

  test('a hash continues an earlier one', () => {
    expect(fnv1a([3], fnv1a([1, 2]))).toBe(fnv1a([1, 2, 3]));
    expect(fnv1aStep(FNV_OFFSET, 97) >>> 0).toBe(fnv1a([97]));
  });
});

describe('LruMap', () => {
  test('reading or writing a key makes it the most recently used one', () => {
    const map = new LruMap<string, number>();
    map.set('a', 1);
    map.set('b', 2);
    map.set('c', 3);
    expect(map.oldest()).toEqual(['a', 1]);
    expect(map.get('a')).toBe(1);
    expect(map.oldest()).toEqual(['b', 2]);
    map.set('b', 4);
    expect([...map.keys()]).toEqual(['c', 'a', 'b']);
    expect([...map.values()]).toEqual([3, 1, 4]);
    expect(map.size).toBe(3);
  });

  test('a deleted key is gone', () => {
    const map = new LruMap([['a', 1]]);
    expect(map.delete('a')).toBe(true);
    expect(map.delete('a')).toBe(false);
    expect(map.get('a')).toBeUndefined();
    expect(map.oldest()).toBeUndefined();
  });

  test('clear removes every entry', () => {
    const map = new LruMap([['a', 1]]);
    map.clear();
    expect(map.size).toBe(0);
  });
});

test.each([
  [[], 1],
  [[3], 3],
  [[2, 3, 4], 24],
  [[2, 0], 0],
])('the shape %j has %i elements', (shape, size) => {
  expect(sizeOfShape(shape)).toBe(size);
});

test('shapes are equal if all their lengths are', () => {
  expect(sameShape([2, 3], [2, 3])).toBe(true);
  expect(sameShape([2, 3], [3, 2])).toBe(false);
  expect(sameShape([2], [2, 1])).toBe(false);
});

test('an object with keys is a record', () => {
  expect(isRecord({})).toBe(true);
  expect([null, [], 'text', 1, undefined].some(isRecord)).toBe(false);
});

test('the message of an error, or the value as text', () => {
  expect(messageOf(new TypeError('broken'))).toBe('broken');
  expect(messageOf('broken')).toBe('broken');
  expect(messageOf(undefined)).toBe('undefined');
});

test('an error stays what it is, and another thrown value becomes the message of one', () => {
  const error = new TypeError('broken');
  expect(toError(error)).toBe(error);
  expect(toError('broken')).toEqual(new Error('broken'));
});
