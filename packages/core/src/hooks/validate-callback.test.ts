import { describe, expect, it } from 'vitest';
import { WhetstoneError } from '../contract/index.js';
import { validateCallback } from './validate-callback.js';

function rejection(value: unknown): WhetstoneError {
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
    const callback = {
      onStep: () => undefined,
      transformGradients: { order: 'post', handler: () => new Map() },
      saveState: () => null,
      loadState: () => undefined,
      dispose: () => undefined,
      onSave: undefined,
    };
    expect(() => validateCallback(callback, 'mine')).not.toThrow();
  });

  it('rejects a misspelled hook with a suggestion', () => {
    const error = rejection({ onStpe: () => undefined });
    expect(error.code).toBe('PLUGIN_INVALID');
    expect(error.hint).toBe("Did you mean 'onStep'?");
    expect(error.details).toEqual({ plugin: 'mine' });
  });

  it('reports all problems', () => {
    const error = rejection({ onStep: 3, onEvalaute: () => undefined, dispose: 'x' });
    expect([error.message, ...error.problems.map((problem) => problem.message)]).toHaveLength(3);
  });

  it("accepts nonFinite: 'skip', with or without hooks", () => {
    const onStep = (): void => undefined;
    for (const callback of [{ nonFinite: 'skip' }, { nonFinite: 'skip', onStep }, { nonFinite: undefined, onStep }])
      expect(() => validateCallback(callback, 'mine')).not.toThrow();
  });

  it('rejects other values of nonFinite, also in an instance of a class', () => {
    const misspelled = rejection({ nonFinite: 'skpi', onStep: () => undefined });
    expect(misspelled).toMatchObject({ code: 'PLUGIN_INVALID', found: "'skpi'", hint: "Did you mean 'skip'?" });
    expect(misspelled.message).toContain("nonFinite of callback 'mine'");
    expect(rejection({ nonFinite: true })).toMatchObject({ code: 'PLUGIN_INVALID', found: 'a boolean' });
    class Stops {
      nonFinite = 'stop';
      onStep(): void {}
    }
    expect(rejection(new Stops())).toMatchObject({ found: "'stop'", hint: undefined });
  });

  it('accepts rollsBack: true, and rejects other values', () => {
    const onStep = (): void => undefined;
    expect(() => validateCallback({ rollsBack: true, onStep }, 'mine')).not.toThrow();
    expect(rejection({ rollsBack: false, onStep })).toMatchObject({
      message: "rollsBack of callback 'mine' has an invalid value.",
      found: 'a boolean',
    });
    expect(rejection({ rollsBack: true }).message).toBe("Callback 'mine' has no hook.");
  });

  it('rejects a misspelled nonFinite', () => {
    expect(rejection({ nonFinit: 'skip' }).hint).toBe("Did you mean 'nonFinite'?");
  });

  it('rejects an unknown order', () => {
    expect(rejection({ onStep: { order: 'first', handler: () => undefined } }).expected).toContain("'pre' | 'post'");
  });

  it('allows fields and other methods in an instance of a class, but no misspelled hook', () => {
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
    expect(rejection(new Misspelled()).hint).toBe("Did you mean 'transformGradients'?");
  });

  it.each([null, 3, [], 'x', {}])('rejects %j', (value) => {
    expect(rejection(value).code).toBe('PLUGIN_INVALID');
  });
});
