import { appendFileSync, closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type {
  Callback,
  Control,
  EvaluationReport,
  Json,
  RunInfo,
  RunReport,
  StepReport,
} from '@whetstone/core/contract';
import { appendBytes, createMetricsLog } from './metrics-jsonl.js';

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
  const warnings: string[] = [];
  const logOf = (): Callback => createMetricsLog(folder, 'metrics.jsonl', (message) => warnings.push(message));
  const evaluate = (log: Callback) =>
    (log.onEvaluate as (report: EvaluationReport, control: Control) => void)(evaluation, control);
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
    const log = logOf();
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
    const log = logOf();
    await play(log, 0, [1, 2, 3]);
    log.dispose?.();
    appendFileSync(join(folder, 'metrics.jsonl'), '{"type":"step","step":1,"lo');
    await play(logOf(), 2, [3, 4]);
    expect(lines().map((line) => line.step)).toEqual([1, 2, 3, 4]);
  });

  it('continues at the position of the checkpoint: no evaluation of its step is missing or doubled', async () => {
    const log = logOf();
    await play(log, 0, [1, 2]);
    const before = (await log.saveState?.()) as Json;
    // What a save step at the end of an epoch does: the evaluation of the epoch follows the checkpoint.
    evaluate(log);
    const after = (await log.saveState?.()) as Json;
    (log.onStep as (report: StepReport, control: Control) => void)(step(3), control);
    log.dispose?.();
    const kindsAfter = async (position: Json): Promise<string[]> => {
      const resumed = logOf();
      resumed.loadState?.(position);
      await play(resumed, 2, []);
      if (position === before) evaluate(resumed);
      resumed.dispose?.();
      return lines().map(({ type, step: at }) => `${type} ${at}`);
    };
    expect(await kindsAfter(after)).toEqual(['step 1', 'step 2', 'evaluation 2']);
    expect(await kindsAfter(before)).toEqual(['step 1', 'step 2', 'evaluation 2']);
    expect(warnings).toEqual([]);
  });

  it('keeps the lines of earlier steps and warns if the file is not that of the checkpoint', async () => {
    const log = logOf();
    await play(log, 0, [1, 2]);
    const position = (await log.saveState?.()) as Json;
    log.dispose?.();
    await play(logOf(), 0, [1, 2, 3]);
    const resumed = logOf();
    resumed.loadState?.({ ...(position as object), sha256: 'another' });
    await play(resumed, 2, [3]);
    expect(lines().map((line) => line.step)).toEqual([1, 2, 3]);
    expect(warnings.splice(0)).toEqual([expect.stringMatching(/metrics\.jsonl is not the log of the run/)]);
  });

  // Writing to /dev/full fails like a full disk. It exists only on Linux.
  it.skipIf(!existsSync('/dev/full'))('reports that the disk is full', async () => {
    const full = openSync('/dev/full', 'a');
    try {
      expect(() => appendBytes(full, Buffer.from('a line'), 'metrics.jsonl')).toThrow(
        expect.objectContaining({ code: 'DISK_FULL', place: { file: 'metrics.jsonl' } }),
      );
    } finally {
      closeSync(full);
    }
  });

  it('starts a new file for a new run', async () => {
    await play(logOf(), 0, [1, 2]);
    await play(logOf(), 0, [1]);
    expect(lines().map((line) => line.step)).toEqual([1]);
  });
});
