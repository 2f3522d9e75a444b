import { describe, expect, it } from 'vitest';
import type { Callback, Control, StepReport } from '@whetstone/core/contract';
import { createNanGuard, type NanGuardOptions } from './nan-guard.js';

const reportOf = (step: number, changes: Partial<StepReport> = {}): StepReport => ({
  step,
  totalSteps: 20,
  epoch: step / 20,
  loss: 2,
  learningRate: 1e-3,
  microbatches: 1,
  samples: 4,
  tokens: 40,
  supervisedTokens: 20,
  seconds: 0.1,
  updated: true,
  metrics: {},
  ...changes,
});
const skippedAt = (step: number): StepReport =>
  reportOf(step, { loss: NaN, updated: false, nonFinite: 'loss', skipReason: 'the loss is NaN' });

/** Passes reports of steps to a guard. Returns the reason for which it stopped the run, or null. */
async function watch(guard: Callback, ...reports: readonly StepReport[]): Promise<string | null> {
  let reason: string | null = null;
  const ignore = (): void => {};
  const control: Control = {
    stop: (why) => void (reason ??= why),
    evaluate: ignore,
    save: ignore,
    skipUpdate: ignore,
    setLearningRate: () => undefined,
    rollback: () => undefined,
    markBest: ignore,
  };
  for (const report of reports)
    await (guard.onStep as (report: StepReport, control: Control) => unknown)(report, control);
  return reason;
}

describe('nan-guard', () => {
  it('fails if the loss or gradient norm is not finite', async () => {
    const failing = [reportOf(3, { loss: NaN }), reportOf(3, { metrics: { gradNorm: Infinity } })];
    for (const report of failing)
      await expect(watch(createNanGuard(), reportOf(2), report)).rejects.toMatchObject({
        code: 'NON_FINITE',
        message: expect.stringMatching(/^At step 3 the (loss is NaN|gradient norm is Infinity)\.$/) as string,
      });
  });

  it('stops after `patience` consecutive steps with a loss above the threshold', async () => {
    const high = (step: number): StepReport => reportOf(step, { loss: 5 });
    const options: NanGuardOptions = { action: 'stop', lossThreshold: 4, patience: 2 };
    expect(await watch(createNanGuard(options), high(1), reportOf(2), high(3))).toBeNull();
    expect(await watch(createNanGuard(options), high(1), high(2))).toBe(
      'At step 2 the loss 5 is above 4, for 2 steps in a row.',
    );
  });

  it('makes the engine skip steps that are not finite, unless the first one is an error', () => {
    for (const options of [{ action: 'skip' }, { action: 'stop' }, { action: 'error', patience: 2 }] as const)
      expect(createNanGuard(options).nonFinite).toBe('skip');
    expect(createNanGuard({ action: 'error' })).not.toHaveProperty('nonFinite');
  });

  it('warns about each skipped step, and fails after more than maxSkips in a row', async () => {
    const warnings: string[] = [];
    const guard = createNanGuard({ action: 'skip', maxSkips: 2 }, (message) => void warnings.push(message));
    await watch(guard, skippedAt(1), skippedAt(2), reportOf(3), skippedAt(4), skippedAt(5));
    expect(warnings).toHaveLength(4);
    await expect(watch(guard, skippedAt(6))).rejects.toMatchObject({
      code: 'NON_FINITE',
      message: 'At step 6 the loss is NaN, for 3 steps in a row.',
    });
  });

  it('fails above the threshold also with skip, because the update was already made', async () => {
    const guard = createNanGuard({ action: 'skip', lossThreshold: 4, patience: 2 });
    await watch(guard, reportOf(1, { loss: 5 }));
    await expect(watch(guard, reportOf(2, { loss: 5 }))).rejects.toMatchObject({
      code: 'NON_FINITE',
      message: 'At step 2 the loss 5 is above 4, for 2 steps in a row.',
    });
  });

  it.each([
    [{ patience: 3, lossThreshold: 1 }, ['patience']],
    [{ patience: 2, lossThreshold: 1 }, []],
    [{ action: 'skip', maxSkips: 2 }, ['maxSkips']],
    [{ action: 'skip', maxSkips: 1 }, []],
    [{ action: 'skip', lossThreshold: 1, patience: 9, maxSkips: 9 }, ['patience', 'maxSkips']],
    [{ action: 'skip' }, []],
  ] as const)('reports limits that a run of two steps cannot reach: %j', (options, expected) => {
    const run = { totalSteps: 2 } as Parameters<NonNullable<Callback['checkRun']>>[0];
    expect(
      createNanGuard(options)
        .checkRun?.(run)
        .map(({ path }) => path),
    ).toEqual(expected);
  });

  it('restores its counts, also from a state without skipped steps', async () => {
    const first = createNanGuard({ action: 'skip', maxSkips: 1 });
    await watch(first, skippedAt(1));
    const second = createNanGuard({ action: 'skip', maxSkips: 1 });
    second.loadState?.(JSON.parse(JSON.stringify(await first.saveState?.())));
    await expect(watch(second, skippedAt(2))).rejects.toMatchObject({ code: 'NON_FINITE' });
    const third = createNanGuard({ action: 'skip', maxSkips: 1 });
    third.loadState?.({ inARow: 0 });
    expect(await watch(third, skippedAt(2))).toBeNull();
  });
});
