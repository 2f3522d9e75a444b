import { describe, expect, it } from 'vitest';
import { byteLevelRules } from '../gguf/pre-tokenizers.js';
import { compilePattern, isLinear } from './patterns.js';

/** Returns all regular expressions in a description of a tokenizer. */
function patternsIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) =>
    key === 'Regex' && typeof item === 'string' ? [item] : patternsIn(item),
  );
}

describe('a pattern from tokenizer.json', () => {
  it('is recognised as linear if published tokenizers use it', () => {
    const patterns = patternsIn(byteLevelRules);
    expect(patterns.length).toBeGreaterThan(5);
    expect(patterns.filter((pattern) => !isLinear(pattern))).toEqual([]);
    expect(isLinear('(a+)+$')).toBe(false);
    expect(isLinear('\\s+|(a+)+$')).toBe(false);
    expect(isLinear('\\s+$')).toBe(false);
    // Quadratic for spaces without a line break, which no other part matches.
    expect(isLinear('\\s*[\\r\\n]+|\\p{L}+')).toBe(false);
  });

  it('takes time in proportion to the text if it is recognised', () => {
    for (const pattern of new Set(patternsIn(byteLevelRules)))
      for (const unit of [' ', '\n', 'A', 'a', '1', '.', '漢', "'", '\u0301', ' a', 'A漢']) {
        const text = `${unit.repeat(1_000_000 / unit.length)}x`;
        let length = 0;
        for (const [match] of compilePattern({ Regex: pattern })(text)) length += match.length;
        expect(length).toBe(text.length);
      }
  }, 240_000);

  it('is ended after ten seconds if it is not', () => {
    const search = compilePattern({ Regex: '^(a+)+$' });
    expect([...search('aaa')]).toHaveLength(1);
    expect(() => search(`${'a'.repeat(60)}b`)).toThrow(
      expect.objectContaining({
        code: 'TOKENIZER_INVALID',
        found: expect.stringContaining('(a+)+') as string,
      }) as Error,
    );
  }, 60_000);
});
