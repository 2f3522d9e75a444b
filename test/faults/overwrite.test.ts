import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withFault } from '../support/faulty-files.js';
import type { ResolvedConfig } from '@whetstone/core/config';
import {
  checkOutputFolder,
  claimOutputFolder,
  prepareOutputFolder,
} from '../../packages/core/src/trainer/output-folder.js';

let root = '';
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'whetstone-output-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** The keys that decide what happens to the folder. */
const configOf = (overwrite: boolean, resume: string | boolean | null): ResolvedConfig =>
  ({
    baseFolder: '/nowhere',
    output: { folder: join(root, 'run'), overwrite },
    training: { resumeFromCheckpoint: resume },
  }) as unknown as ResolvedConfig;

const oldFiles = [
  'adapter/weights',
  'checkpoint-1/state',
  'checkpoint-2/state',
  'config.resolved.json',
  'metrics.jsonl',
];

async function writeOldRun(): Promise<void> {
  await rm(join(root, 'run'), { recursive: true, force: true });
  for (const folder of ['adapter', 'checkpoint-1', 'checkpoint-2'])
    await mkdir(join(root, 'run', folder), { recursive: true });
  for (const file of oldFiles) await writeFile(join(root, 'run', file), 'old');
  await writeFile(join(root, 'run', '.gitignore'), 'old');
}

const isFolder = (name: string): boolean => ['adapter', 'checkpoint-1', 'checkpoint-2'].includes(name);
const filesOf = async (): Promise<readonly string[]> =>
  (await readdir(join(root, 'run'), { recursive: true })).filter((name) => !isFolder(name)).toSorted();

describe('a run that is overwritten', () => {
  const afterwards: Readonly<Record<string, ResolvedConfig['training']['resumeFromCheckpoint']>> = {
    'overwritten again': null,
    resumed: true,
  };

  it.each(Object.keys(afterwards))('and killed at any operation can be %s', async (how) => {
    const resume = afterwards[how] ?? null;
    for (let at = 0; ; at++) {
      await writeOldRun();
      const { failed } = await withFault(root, { kind: 'kill', at }, () => claimOutputFolder(configOf(true, null)));
      const next = configOf(resume === null, resume);
      await checkOutputFolder(next);
      await prepareOutputFolder(next);
      const found = (await filesOf()).filter((name) => !name.endsWith('.partial'));
      // A run that is resumed finds the complete old run, if nothing of it was removed, or nothing of it.
      if (resume !== null && found.includes('metrics.jsonl'))
        expect(found, `after ${failed}`).toEqual(['.gitignore', ...oldFiles].toSorted());
      else if (resume !== null) expect(found, `after ${failed}`).not.toContain('checkpoint-1/state');
      await claimOutputFolder(next);
      if (resume === null)
        expect((await filesOf()).filter((name) => !name.endsWith('.partial'))).toEqual([
          '.gitignore',
          'config.resolved.json',
        ]);
      if (failed !== null) continue;
      expect(at).toBeGreaterThan(8);
      return;
    }
  });

  it('keeps files whose names start with a dot, and no mark', async () => {
    await writeOldRun();
    await claimOutputFolder(configOf(true, null));
    expect(await filesOf()).toEqual(['.gitignore', 'config.resolved.json']);
    expect(await readFile(join(root, 'run', '.gitignore'), 'utf8')).toBe('old');
  });

  it('is not removed after a kill if the next run names one of its checkpoints', async () => {
    await writeOldRun();
    await writeFile(join(root, 'run', '.whetstone-overwrite'), '');
    const next = configOf(false, join(root, 'run', 'checkpoint-2'));
    await checkOutputFolder(next);
    await prepareOutputFolder(next);
    await claimOutputFolder(next);
    expect(await filesOf()).toEqual(['.gitignore', ...oldFiles].toSorted());
  });
});

describe('a folder with an input of the run', () => {
  const inputs: Readonly<Record<string, object>> = {
    'the model': { model: { path: 'run/adapter' } },
    data: { data: { train: { use: 'conversations', options: { paths: ['train.jsonl', './run/metrics.jsonl'] } } } },
    'a file of a companion': { companions: [{ use: 'ewc', options: { fisherFile: 'run/adapter/weights' } }] },
    'the adapter of a stage': { stages: [{ config: { strategy: { options: { adapter: 'run/adapter' } } } }] },
  };
  const withInput = (name: string, overwrite: boolean, resume: boolean | null): ResolvedConfig => ({
    ...configOf(overwrite, resume),
    baseFolder: root,
    ...inputs[name],
  });

  it.each(Object.keys(inputs))('is not removed: %s', async (name) => {
    await writeOldRun();
    const config = withInput(name, true, null);
    await expect(checkOutputFolder(config)).rejects.toMatchObject({
      code: 'OUTPUT_EXISTS',
      found: expect.stringContaining(join(root, 'run')),
    });
    await expect(claimOutputFolder(config)).rejects.toMatchObject({ code: 'OUTPUT_EXISTS' });
    expect(await filesOf()).toEqual(['.gitignore', ...oldFiles].toSorted());
    // Nothing is removed if the run is resumed, or if the input is only named like one of the folder.
    await checkOutputFolder(withInput(name, false, true));
    await checkOutputFolder({ ...config, baseFolder: join(root, 'other') });
  });

  it('is removed if it names its own output and checkpoints only', async () => {
    await writeOldRun();
    const config = { ...configOf(true, null), baseFolder: root, stages: [{ config: configOf(true, null) }] };
    await claimOutputFolder(config as unknown as ResolvedConfig);
    expect(await filesOf()).toEqual(['.gitignore', 'config.resolved.json']);
  });
});

it('a folder that is not a run is never removed, with or without a mark of another folder', async () => {
  await mkdir(join(root, 'run'));
  await writeFile(join(root, 'run', 'thesis.tex'), 'text');
  for (const config of [configOf(true, null), configOf(false, true)])
    await expect(checkOutputFolder(config)).rejects.toMatchObject({ code: 'OUTPUT_EXISTS' });
});
