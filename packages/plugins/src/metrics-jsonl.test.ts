import { appendFileSync, closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Callback, Control, EvaluationReport, RunInfo, RunReport, StepReport } from '@whetstone/core/contract';
import { appendText, createMetricsLog } from './metrics-jsonl.js';

const control: Control = {
  stop() {},
  evaluate() {},
  save() {},
  skipUpdate() {},
  setLearningRate() {},
  rollback() {},
  markBest() {},
};
const run = (startStep: number): RunInfo => ({
  totalSteps: 4,
  epochs: 1,
  startStep,
  outputFolder: null,
  backend: 'cpu',
  engine: 'cpu',
  trainableParameters: 1,
  totalParameters: 1,
});
const step = (number: number, loss = number): StepReport => ({
  step: number,
  totalSteps: 4,
  epoch: 0,
  loss,
  learningRate: 1e-3,
  microbatches: 1,
  samples: 1,
  tokens: 2,
  supervisedTokens: 1,
  seconds: 1,
  updated: true,
  metrics: { gradNorm: 2 },
});
const end: RunReport = {
  evalLossBefore: null,
  evalLossAfter: 1,
  steps: 4,
  seconds: 1,
  samplesPerSecond: 1,
  tokensPerSecond: 1,
  supervisedTokensPerSecond: 1,
  peakMemoryBytes: 1,
  backend: 'cpu',
  engine: 'cpu',
  outputFolder: null,
  stopReason: null,
};
const evaluation: EvaluationReport = {
  step: 2,
  epoch: 0,
  loss: Number.NaN,
  perplexity: 1,
  supervisedTokens: 1,
  samples: 1,
  seconds: 1,
  metrics: {},
};

async function play(callback: Callback, startStep: number, steps: readonly number[]): Promise<void> {
  await (callback.onRunStart as (info: RunInfo, control: Control) => Promise<void>)(run(startStep), control);
  for (const number of steps)
    await (callback.onStep as (report: StepReport, control: Control) => void)(step(number), control);
}

describe('metrics-jsonl', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'whetstone-metrics-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const lines = (): {
    readonly type: string;
    readonly step: number;
    readonly loss?: number | null;
    readonly gradNorm?: number;
  }[] =>
    readFileSync(join(folder, 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as never);

  it('writes a line per step and evaluation immediately, and one at the end', async () => {
    const log = createMetricsLog(folder, 'metrics.jsonl');
    await play(log, 0, [1, 2]);
    expect(lines()).toMatchObject([
      { type: 'step', step: 1, loss: 1, gradNorm: 2 },
      { type: 'step', step: 2 },
    ]);
    await (log.onEvaluate as (report: EvaluationReport, control: Control) => void)(evaluation, control);
    expect(lines()[2]).toMatchObject({ type: 'evaluation', step: 2, loss: null });
    await (log.onRunEnd as (report: RunReport) => void)(end);
    expect(lines()[3]).toMatchObject({ type: 'end', step: 4, evalLossAfter: 1 });
  });

  it('removes steps that a resumed run repeats, and incomplete lines', async () => {
    const log = createMetricsLog(folder, 'metrics.jsonl');
    await play(log, 0, [1, 2, 3]);
    log.dispose?.();
    appendFileSync(join(folder, 'metrics.jsonl'), '{"type":"step","step":1,"lo');
    await play(createMetricsLog(folder, 'metrics.jsonl'), 2, [3, 4]);
    expect(lines().map((line) => line.step)).toEqual([1, 2, 3, 4]);
  });

  // Writing to /dev/full fails like a full disk. It exists only on Linux.
  it.skipIf(!existsSync('/dev/full'))('reports that the disk is full', async () => {
    const full = openSync('/dev/full', 'a');
    try {
      expect(() => appendText(full, 'a line', 'metrics.jsonl')).toThrow(
        expect.objectContaining({ code: 'DISK_FULL', place: { file: 'metrics.jsonl' } }),
      );
    } finally {
      closeSync(full);
    }
  });

  it('starts a new file for a new run', async () => {
    await play(createMetricsLog(folder, 'metrics.jsonl'), 0, [1, 2]);
    await play(createMetricsLog(folder, 'metrics.jsonl'), 0, [1]);
    expect(lines().map((line) => line.step)).toEqual([1]);
  });
});
