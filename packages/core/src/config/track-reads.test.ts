import { describe, expect, it } from 'vitest';
import { trackReads } from './track-reads.js';

const schema = {
  type: 'object',
  properties: { a: {}, list: {}, map: { type: 'object' }, inner: { type: 'object', properties: { x: {}, y: {} } } },
};
const value = { a: 1, list: [{ z: 1 }], map: { free: 1 }, inner: { x: 1, y: 2 } };
const make = () => trackReads(value, schema);

describe('trackReads', () => {
  it('lists keys that were never read', () => {
    const tracked = make();
    expect(tracked.touched()).toBe(false);
    expect(tracked.unread()).toEqual([['a'], ['list'], ['map'], ['inner']]);
    void tracked.options['a'];
    expect(tracked.touched()).toBe(true);
    expect(tracked.unread()).toEqual([['list'], ['map'], ['inner']]);
  });

  it('records keys of declared objects individually, and lists and maps as one', () => {
    const tracked = make();
    const { list, map, inner } = tracked.options as { list: unknown; map: unknown; inner: { x: number } };
    void [list, map, inner.x];
    expect(tracked.unread()).toEqual([['a'], ['inner', 'y']]);
  });

  it.each([
    ['spread', (options: object) => ({ ...options, inner: { ...(options as typeof value).inner } })],
    ['JSON.stringify', (options: object) => JSON.parse(JSON.stringify(options)) as unknown],
    ['structuredClone', (options: object) => structuredClone(options)],
  ])('counts %s as reading all keys, and returns plain data', (_, read) => {
    const tracked = make();
    expect(read(tracked.options)).toEqual(value);
    expect(tracked.unread()).toEqual([]);
  });

  it('cannot be changed', () => {
    const { options } = make();
    expect(Object.isFrozen(options)).toBe(true);
    expect(() => {
      (options as { a: number }).a = 2;
    }).toThrow(TypeError);
  });
});
