import { describe, expect, test } from 'vitest';
import { newSignals } from './interrupt.js';

describe('signals', () => {
  test('that are delivered twice within a quarter of a second are one', () => {
    let now = 0;
    const isNew = newSignals(() => now);
    expect(isNew('SIGINT')).toBe(true);
    now = 20;
    // npx forwards the Ctrl-C that the terminal has sent to its child, too.
    expect(isNew('SIGINT')).toBe(false);
    expect(isNew('SIGTERM'), 'another signal').toBe(true);
    now = 500;
    expect(isNew('SIGINT'), 'the second Ctrl-C').toBe(true);
  });
});
