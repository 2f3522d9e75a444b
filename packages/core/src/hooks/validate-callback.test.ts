import { describe, expect, it } from 'vitest';
import { WhetstoneError } from '../contract/index.js';
import { validateCallback } from './validate-callback.js';

function refusal(value: unknown): WhetstoneError {
  try {
    validateCallback(value, 'mine');
  } catch (error) {
    if (error instanceof WhetstoneError) return error;
    throw error;
  }
  throw new Error('was accepted');
}

describe('validateCallback', () => {
  it('accepts hooks, ordered hooks, state and dispose', () => {
    validateCallback(
      {
        onStep: () => undefined,
        transformGradients: { order: 'post', handler: () => new Map() },
        saveState: () => null,
        loadState: () => undefined,
        dispose: () => undefined,
        onSave: undefined,
      },
      'mine',
    );
  });

  it('refuses a misspelled hook and says what it may have meant', () => {
    const error = refusal({ onStpe: () => undefined });
    expect(error.code).toBe('PLUGIN_INVALID');
    expect(error.hint).toBe("Did you mean 'onStep'?");
    expect(error.details).toEqual({ plugin: 'mine' });
  });

  it('lists everything that is wrong', () => {
    const error = refusal({ onStep: 3, onEvalaute: () => undefined, dispose: 'x' });
    expect([error.message, ...error.problems.map((problem) => problem.message)]).toHaveLength(3);
  });

  it("accepts nonFinite: 'skip', also without any hook", () => {
    validateCallback({ nonFinite: 'skip' }, 'mine');
    validateCallback({ nonFinite: 'skip', onStep: () => undefined }, 'mine');
    validateCallback({ nonFinite: undefined, onStep: () => undefined }, 'mine');
  });

  it('refuses another value of nonFinite, also of an instance of a class', () => {
    const misspelled = refusal({ nonFinite: 'skpi', onStep: () => undefined });
    expect(misspelled).toMatchObject({ code: 'PLUGIN_INVALID', found: "'skpi'", hint: "Did you mean 'skip'?" });
    expect(misspelled.message).toContain("nonFinite of callback 'mine'");
    expect(refusal({ nonFinite: true })).toMatchObject({ code: 'PLUGIN_INVALID', found: 'a boolean' });
    class Stops {
      nonFinite = 'stop';
      onStep(): void {}
    }
    expect(refusal(new Stops())).toMatchObject({ found: "'stop'", hint: undefined });
  });

  it('refuses a misspelled nonFinite', () => {
    expect(refusal({ nonFinit: 'skip' }).hint).toBe("Did you mean 'nonFinite'?");
  });

  it('refuses an order that does not exist', () => {
    expect(refusal({ onStep: { order: 'first', handler: () => undefined } }).expected).toContain("'pre' | 'post'");
  });

  it('lets an instance of a class have fields and helpers, but no misspelled hook', () => {
    class Fine {
      patience = 3;
      onStep(): void {}
      compare(): void {}
    }
    validateCallback(new Fine(), 'mine');
    class Misspelled {
      onStep(): void {}
      transformGradient(): void {}
    }
    expect(refusal(new Misspelled()).hint).toBe("Did you mean 'transformGradients'?");
  });

  it.each([null, 3, [], 'x', {}])('refuses %j', (value) => {
    expect(refusal(value).code).toBe('PLUGIN_INVALID');
  });
});
