import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Callback, Control, EvaluationReport, Json, RunInfo, StepReport } from '@whetstone/core/contract';
import { crc32c, encodeEvent, frameRecord } from './event-file.js';
import { createTensorBoardLog } from './tensorboard.js';

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
const step = (number: number, loss: number): StepReport => ({
  step: number,
  totalSteps: 4,
  epoch: 0.5,
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
const evaluation: EvaluationReport = {
  step: 4,
  epoch: 1,
  loss: 1.5,
  perplexity: 4.5,
  supervisedTokens: 1,
  samples: 1,
  seconds: 1,
  metrics: { bleu: 12 },
};

async function play(callback: Callback, startStep: number, losses: Readonly<Record<number, number>>): Promise<void> {
  await (callback.onRunStart as (info: RunInfo, control: Control) => Promise<void>)(run(startStep), control);
  for (const [number, loss] of Object.entries(losses))
    await (callback.onStep as (report: StepReport, control: Control) => void)(step(Number(number), loss), control);
}

describe('event files', () => {
  it('have the checksums of RFC 3720', () => {
    // RFC 3720, appendix B.4: 32 bytes of zeros, of ones, and ascending.
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(255))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index))).toBe(0x46dd794e);
  });

  it('are framed protocol buffers', () => {
    const event = encodeEvent({ kind: 'scalars', seconds: 1, step: 300, scalars: { 'a/b': 0.5 } });
    // wall_time 1.0 · step 300 = 0xac02 · summary { value { tag "a/b", simple_value 0.5 } }
    expect(event.toString('hex')).toBe(
      ['09000000000000f03f', '10ac02', '2a0c', '0a0a', '0a03612f62', '150000003f'].join(''),
    );
    const record = frameRecord(event);
    expect([record.readBigUInt64LE(0), record.length]).toEqual([BigInt(event.length), 12 + event.length + 4]);
  });
});

/** A Python that has TensorBoard installed. */
const python = process.env['WHETSTONE_TENSORBOARD_PYTHON'] ?? process.env['WHETSTONE_PEER_PYTHON'];
const reader = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
a = EventAccumulator(sys.argv[1]).Reload()
print(json.dumps({t: [[e.step, e.value] for e in a.Scalars(t)] for t in a.Tags()["scalars"]}))
`;
const hasTensorBoard = (): boolean => {
  if (python === undefined) return false;
  try {
    execFileSync(python, ['-c', 'import tensorboard'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};
const readable = hasTensorBoard();
if (!readable)
  console.warn(
    'Event files are not read with TensorBoard itself: set WHETSTONE_TENSORBOARD_PYTHON to a python that has ' +
      'tensorboard (pip install tensorboard).',
  );

describe('tensorboard', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'whetstone-tensorboard-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('writes a file for each start, immediately', async () => {
    let clock = 1_700_000_000_000;
    const log = createTensorBoardLog(join(folder, 'events'), 2, () => (clock += 1000));
    await play(log, 0, { 1: 3, 2: 2.5 });
    const [file = ''] = readdirSync(join(folder, 'events'));
    expect(file).toMatch(/^events\.out\.tfevents\.\d{13}\./);
    const text = readFileSync(join(folder, 'events', file), 'latin1');
    expect(text).toContain('brain.Event:2');
    expect(text.match(/train\/loss/g)).toHaveLength(1);
    expect(text).toContain('train/gradNorm');
    log.dispose?.();
    await play(log, 2, { 3: 2 });
    log.dispose?.();
    expect(readdirSync(join(folder, 'events'))).toHaveLength(2);
  });

  it('removes what follows the checkpoint from which a run resumes', async () => {
    let clock = 1_700_000_000_000;
    const logOf = (): Callback => createTensorBoardLog(folder, 1, () => (clock += 1000));
    const evaluate = (log: Callback): void =>
      (log.onEvaluate as (report: EvaluationReport, control: Control) => void)(evaluation, control);
    /** The number of evaluations in the files that TensorBoard reads. */
    const evaluations = (): number =>
      readdirSync(folder)
        .filter((name) => name.includes('tfevents'))
        .flatMap((name) => readFileSync(join(folder, name), 'latin1').match(/eval\/loss/g) ?? []).length;
    const first = logOf();
    await play(first, 0, { 1: 3, 2: 2.5, 3: 9, 4: 9 });
    const saved = (await first.saveState?.()) as Json;
    // The checkpoint of step 4 precedes its evaluation, so that every resumed run evaluates again.
    evaluate(first);
    for (const _ of ['killed', 'ends']) {
      const resumed = logOf();
      resumed.loadState?.(saved);
      await play(resumed, 4, {});
      evaluate(resumed);
    }
    // Another run in the same folder.
    const other = logOf();
    await play(other, 0, { 1: 3 });
    expect(evaluations()).toBe(1);
    expect(readdirSync(folder).filter((name) => name.startsWith('events.out.abandoned.'))).toHaveLength(1);
  });

  it.skipIf(!existsSync('/dev/full'))('leaves no file open', async () => {
    const log = createTensorBoardLog(folder);
    await play(log, 0, { 1: 3 });
    const open = (): number => readdirSync('/proc/self/fd').length;
    const during = open();
    log.dispose?.();
    expect(open()).toBe(during - 1);
  });

  it.runIf(readable)(
    'is read by TensorBoard, which forgets what a resumed run does again',
    async () => {
      let clock = 1_700_000_000_000;
      const log = createTensorBoardLog(folder, 1, () => (clock += 1000));
      await play(log, 0, { 1: 3, 2: 2.5, 3: 9, 4: 9 });
      log.dispose?.();
      await play(log, 2, { 3: 2, 4: 1.75 });
      await (log.onEvaluate as (report: EvaluationReport, control: Control) => void)(evaluation, control);
      log.dispose?.();
      const read = JSON.parse(execFileSync(python ?? '', ['-c', reader, folder]).toString()) as Record<string, unknown>;
      expect(read['train/loss']).toEqual([
        [1, 3],
        [2, 2.5],
        [3, 2],
        [4, 1.75],
      ]);
      expect(read['eval/perplexity']).toEqual([[4, 4.5]]);
      expect(read['eval/bleu']).toEqual([[4, 12]]);
      expect(Object.keys(read)).not.toContain('train/step');
    },
    60_000,
  );
});
