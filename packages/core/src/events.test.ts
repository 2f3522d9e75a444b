import { describe, expect, it } from 'vitest';
import type { Logger, StepReport } from './contract/index.js';
import { createEventHub, eventCallback } from './events.js';

function hub() {
  const errors: string[] = [];
  const logger: Logger = {
    debug: () => undefined,
    info: () => undefined,
    warn: () => undefined,
    error: (message) => void errors.push(message),
  };
  return { errors, events: createEventHub(() => logger) };
}
const report = { step: 1 } as StepReport;

describe('createEventHub', () => {
  it('calls listeners in order until they are removed', () => {
    const { events } = hub();
    const calls: string[] = [];
    const first = () => void calls.push('first');
    events.on('step', first);
    events.once('step', () => void calls.push('once'));
    events.emit('step', report);
    events.off('step', first);
    events.emit('step', report);
    expect(calls).toEqual(['first', 'once']);
  });

  it('logs errors of listeners that throw or reject, and calls the others', async () => {
    const { events, errors } = hub();
    const calls: number[] = [];
    events.on('step', () => {
      throw new Error('sync');
    });
    events.on('step', async () => {
      throw new Error('async');
    });
    events.on('step', ({ step }) => void calls.push(step));
    events.emit('step', report);
    await new Promise((resolve) => setImmediate(resolve));
    expect(calls).toEqual([1]);
    expect(errors).toEqual(["A listener of 'step' failed: sync", "A listener of 'step' failed: async"]);
  });

  it('logs the event at which a listener of two events failed', () => {
    const { events, errors } = hub();
    const fail = () => {
      throw new Error('no');
    };
    events.on('step', fail);
    events.on('warning', fail);
    events.emit('warning', { message: 'careful' });
    events.emit('step', report);
    events.off('step', fail);
    events.emit('step', report);
    events.emit('warning', { message: 'careful' });
    expect(errors).toEqual([
      "A listener of 'warning' failed: no",
      "A listener of 'step' failed: no",
      "A listener of 'warning' failed: no",
    ]);
  });

  it('keeps all listeners if an unknown one is removed', () => {
    const { events } = hub();
    const steps: number[] = [];
    events.on('step', ({ step }) => void steps.push(step));
    events.off('step', () => undefined);
    events.emit('step', report);
    expect(steps).toEqual([1]);
  });
});

it('eventCallback is called last in all its hooks', () => {
  const hooks = Object.values(eventCallback(() => undefined)) as { readonly order: string }[];
  expect(hooks.length).toBeGreaterThan(0);
  for (const { order } of hooks) expect(order).toBe('post');
});
