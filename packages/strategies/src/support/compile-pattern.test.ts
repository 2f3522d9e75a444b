import { expect, it } from 'vitest';
import { compilePattern } from './compile-pattern.js';

it('ends a pattern that takes exponential time', () => {
  const pattern = compilePattern('^(?:(\\w+\\.?)+!)$', 'strategy.options.targetModules', '(\\w+\\.?)+!');
  expect(pattern.test('model!')).toBe(true);
  expect(() => pattern.test('model.layers.0.self_attention.query_projection.weight_of_all')).toThrow(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      place: { path: 'strategy.options.targetModules' },
      found: '(\\w+\\.?)+!',
    }) as Error,
  );
}, 60_000);

it('finds groups', () => {
  expect(compilePattern('(?:^|.*?\\.)(?:h|layers)+\\.(\\d+)\\.', 'x').exec('model.layers.3.mlp')?.[1]).toBe('3');
});
