import { describe, expect, it } from 'vitest';
import type { Control, EvaluationReport, StepReport } from '@whetstone/core/contract';
import { createEarlyStopping, type EarlyStoppingOptions } from './early-stopping.js';

const evaluation = (step: number, loss: number, metrics: Record<string, number> = {}): EvaluationReport => ({
  step,
  epoch: 0,
  loss,
  perplexity: Math.exp(loss),
  supervisedTokens: 1,
  samples: 1,
  seconds: 1,
  metrics,
});

function recordingControl(): Control & { readonly stops: string[]; best: number } {
  const control = {
    stops: [] as string[],
    best: 0,
    stop: (reason: string) => void control.stops.push(reason),
    evaluate() {},
    save() {},
    skipUpdate() {},
    setLearningRate: () => undefined,
    rollback: () => undefined,
    markBest: () => void control.best++,
  };
  return control;
}

/** Feeds losses to a callback. Returns the number of the loss, from 1, at which it stopped the run, or null. */
function stopsAt(options: Partial<EarlyStoppingOptions>, losses: readonly number[]): number | null {
  const control = recordingControl();
  const callback = createEarlyStopping(options);
  for (const [index, loss] of losses.entries()) {
    void (callback.onEvaluate as (report: EvaluationReport, control: Control) => void)(
      evaluation(index + 1, loss),
      control,
    );
    if (control.stops.length > 0) return index + 1;
  }
  return null;
}

describe('early-stopping', () => {
  it('stops after `patience` evaluations without improvement', () => {
    expect(stopsAt({ patience: 2 }, [3, 2, 2.5, 2, 1])).toBe(4);
    expect(stopsAt({ patience: 2 }, [3, 2, 2.5, 1.9, 2, 1.8])).toBeNull();
  });
  it('counts only changes above the threshold as improvements', () => {
    expect(stopsAt({ patience: 1, threshold: 0.1 }, [2, 1.95])).toBe(2);
    expect(stopsAt({ patience: 1, threshold: 0.1, thresholdMode: 'relative' }, [2, 1.85])).toBe(2);
    expect(stopsAt({ patience: 1, threshold: 0.1, thresholdMode: 'relative' }, [2, 1.75])).toBeNull();
  });
  it('supports maximizing, a baseline, and warmup evaluations', () => {
    expect(stopsAt({ patience: 1, mode: 'max' }, [1, 2, 1])).toBe(3);
    expect(stopsAt({ patience: 2, baseline: 1 }, [2, 1.5])).toBe(2);
    expect(stopsAt({ patience: 1, warmupEvaluations: 3 }, [1, 2, 3, 4])).toBe(4);
  });
  it('does not count NaN as an improvement', () => {
    expect(stopsAt({ patience: 2 }, [Number.NaN, Number.NaN])).toBe(2);
  });
  it('marks the best weights only with restoreBest', () => {
    for (const restoreBest of [true, false]) {
      const control = recordingControl();
      const callback = createEarlyStopping({ restoreBest });
      for (const loss of [3, 2, 4])
        void (callback.onEvaluate as (report: EvaluationReport, control: Control) => void)(
          evaluation(1, loss),
          control,
        );
      expect(control.best).toBe(restoreBest ? 2 : 0);
    }
  });
  const call = (callback: ReturnType<typeof createEarlyStopping>, loss: number, control: Control): void =>
    void (callback.onEvaluate as (report: EvaluationReport, control: Control) => void)(evaluation(1, loss), control);
  it('restores its count of evaluations on resume', async () => {
    const first = createEarlyStopping({ patience: 3 });
    const control = recordingControl();
    for (const loss of [1, 2, 2]) call(first, loss, control);
    const second = createEarlyStopping({ patience: 3 });
    second.loadState?.(JSON.parse(JSON.stringify(await first.saveState?.())));
    call(second, 2, control);
    expect(control.stops).toHaveLength(1);
    expect(control.stops[0]).toContain('best 1');
  });
  it('does not compare the values of another metric that was saved', async () => {
    const control = recordingControl();
    const first = createEarlyStopping({ metric: 'trainLoss', trainLossWindow: 1 });
    await (first.onStep as (report: StepReport, control: Control) => unknown)(
      { step: 1, loss: 0.5, updated: true } as StepReport,
      control,
    );
    const second = createEarlyStopping({ patience: 1 });
    second.loadState?.(JSON.parse(JSON.stringify(await first.saveState?.())));
    call(second, 2, control);
    expect(control.stops).toEqual([]);
  });
  it('uses the train loss, averaged over windows, and then ignores evaluations', () => {
    const control = recordingControl();
    const callback = createEarlyStopping({ metric: 'trainLoss', trainLossWindow: 2, patience: 1 });
    const step = (number: number, loss: number): void =>
      void (callback.onStep as (report: StepReport, control: Control) => void)(
        {
          step: number,
          totalSteps: 9,
          epoch: 0,
          loss,
          learningRate: 1,
          microbatches: 1,
          samples: 1,
          tokens: 1,
          supervisedTokens: 1,
          seconds: 1,
          updated: true,
          metrics: {},
        },
        control,
      );
    // The windows have means 2.5, 2.25 and 2.5: the third is the first without an improvement.
    for (const [index, loss] of [2, 3, 4, 0.5, 1].entries()) step(index + 1, loss);
    void (callback.onEvaluate as (report: EvaluationReport, control: Control) => void)(evaluation(5, 99), control);
    expect([control.best, control.stops]).toEqual([2, []]);
    step(6, 4);
    expect(control.stops).toEqual([expect.stringContaining('best 2.25 at step 4, now 2.5')]);
  });
  it('uses the perplexity, or any metric to maximize', () => {
    for (const [metric, mode] of [
      ['perplexity', 'min'],
      ['bleu', 'max'],
    ] as const) {
      const control = recordingControl();
      const callback = createEarlyStopping({ metric, mode, patience: 1 });
      for (const [index, loss] of [3, 2, 2.5].entries()) {
        expect(control.stops).toHaveLength(0);
        void (callback.onEvaluate as (report: EvaluationReport, control: Control) => void)(
          evaluation(index + 1, loss, { bleu: -loss }),
          control,
        );
      }
      expect(control.stops, metric).toHaveLength(1);
    }
  });
  it('uses a metric by name, and lists the existing ones if it is missing', () => {
    const callback = createEarlyStopping({ metric: 'bleu', mode: 'max' });
    expect(() =>
      (callback.onEvaluate as (report: EvaluationReport, control: Control) => void)(
        evaluation(1, 1, { rouge1: 3 }),
        recordingControl(),
      ),
    ).toThrow(/rouge1/);
  });
});
