import '@tensorflow/tfjs-backend-cpu';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { readLastError } from '@whetstone/core/checkpoint';
import type { Callback } from '@whetstone/core/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/temporary-folder.js';
import { tinyTrainer } from './support.js';

beforeAll(() => tf.setBackend('cpu'));

const training = { maxSteps: 2, saveStrategy: 'steps', saveSteps: 1 };
const failAt = (step: number, message: string): Callback => ({
  onStep: (report) => {
    if (report.step === step) throw new Error(message);
  },
});

describe('the error that ended a run', () => {
  it('is recorded in the output folder with its code and step, without credentials and contents', async () => {
    const folder = join(await temporaryFolder(), 'run');
    const message = 'GET https://me:pw-1@host/x?key=abc-def said "what nobody may read" about "lm_head.weight"';
    const trainer = tinyTrainer({ output: { folder }, training }, { callbacks: [failAt(2, message)] });
    await expect(trainer.run()).rejects.toMatchObject({ code: 'HOOK_FAILED' });
    const recorded = await readLastError(folder);
    expect(recorded).toMatchObject({ code: 'HOOK_FAILED', step: 1 });
    expect(recorded?.message).toContain('https://host/x said "…" about "lm_head.weight"');
    expect(Number.isNaN(Date.parse(recorded?.time ?? ''))).toBe(false);
    // No other file of the run has it either, and nothing unfinished is left.
    expect((await readdir(folder)).filter((name) => name.endsWith('.partial'))).toEqual([]);
    expect(await readFile(join(folder, '.last-error.json'), 'utf8')).not.toMatch(/pw-1|abc-def|nobody/);
  });

  it('is removed by the next run of the folder', async () => {
    const folder = join(await temporaryFolder(), 'run');
    await expect(tinyTrainer({ output: { folder }, training }, { callbacks: [failAt(2, 'no')] }).run()).rejects.toThrow(
      'no',
    );
    await tinyTrainer({ output: { folder }, training: { ...training, resumeFromCheckpoint: true } }).run();
    expect(await readLastError(folder)).toBeNull();
  });

  it('is recorded for a run that is stopped early, and for a stage in the folder of the run', async () => {
    const root = await temporaryFolder();
    const stopped = join(root, 'stopped');
    for await (const { step } of tinyTrainer({ output: { folder: stopped }, training })) if (step === 1) break;
    expect(await readLastError(stopped)).toMatchObject({ code: 'INTERRUPTED', step: 1 });

    const folder = join(root, 'staged');
    const stages = [
      { name: 'one', training },
      { name: 'two', training },
    ];
    const failing = failAt(2, 'in a stage');
    await expect(tinyTrainer({ output: { folder }, stages }, { callbacks: [failing] }).run()).rejects.toThrow();
    expect(await readLastError(folder)).toMatchObject({ code: 'HOOK_FAILED', step: 1 });
  });

  it('of a run that may not write to the folder is not recorded there', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'mine.txt'), 'text');
    await expect(tinyTrainer({ output: { folder }, training }).run()).rejects.toMatchObject({ code: 'OUTPUT_EXISTS' });
    expect(await readdir(folder)).toEqual(['mine.txt']);
  });

  it.each(['', '{', '[]', '{"format":"other"}', '\u0000'])('that is damaged (%j) is an error', async (text) => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, '.last-error.json'), text);
    await expect(readLastError(folder)).rejects.toThrow('.last-error.json is damaged.');
  });
});
