import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { useBackend } from '../support/backend.js';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { FolderLock } from '@whetstone/core/files';
import { createOutputLock } from '../../packages/core/src/trainer/output-lock.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { tinyTrainer } from './support.js';

beforeAll(async () => void (await useBackend('cpu')));

const messages: string[] = [];
const warnings: string[] = [];
const lockOf = (folder: string): FolderLock =>
  createOutputLock(folder, {
    info: (message) => void messages.push(message),
    warn: (message) => void warnings.push(message),
  });
const lockFile = (folder: string): string => join(folder, '.run.lock');
const holderIn = async (folder: string): Promise<Record<string, unknown>> =>
  JSON.parse(await readFile(lockFile(folder), 'utf8')) as Record<string, unknown>;

/** Writes the lock of another process: that of this one, with changes. */
async function writeLock(folder: string, changes: Readonly<Record<string, unknown>>, file = lockFile(folder)) {
  const own = lockOf(folder);
  await own.take();
  const text = JSON.stringify({ ...(await holderIn(folder)), token: 'abcd', ...changes });
  await own.release();
  await writeFile(file, text);
}

const minutesAgo = (minutes: number): Date => new Date(Date.now() - minutes * 60_000);
/** The id of a process that has ended. */
const ended = (): number => spawnSync(process.execPath, ['-e', '']).pid;
const refusal = (lock: FolderLock): Promise<unknown> =>
  lock.take().then(
    () => null,
    (error: unknown) => error,
  );

describe('the lock of an output folder', () => {
  afterEach(() => {
    messages.length = 0;
    warnings.length = 0;
    vi.unstubAllEnvs();
  });

  it('is held by one run at a time, and removed at the end', async () => {
    const folder = await temporaryFolder();
    const [one, other] = [lockOf(folder), lockOf(folder)];
    await one.take();
    await one.take();
    expect(await refusal(other)).toMatchObject({
      code: 'OUTPUT_LOCKED',
      place: { file: folder },
      found: expect.stringMatching(new RegExp(`^process ${process.pid} on ${hostname()}, since 20..-`)) as string,
      details: { pid: process.pid, host: hostname() },
    });
    await other.release();
    expect(existsSync(lockFile(folder))).toBe(true);
    await one.release();
    expect(await readdir(folder)).toEqual([]);
    await other.take();
    await other.release();
    expect(messages).toEqual([]);
  });

  it('is not taken while there is no folder', async () => {
    const folder = join(await temporaryFolder(), 'later');
    await lockOf(folder).take();
    expect(existsSync(folder)).toBe(false);
  });

  it.each([
    ['whose process has ended', () => ({ pid: ended() })],
    ['whose process id was given to another process', () => ({ pid: process.ppid, started: 'earlier' })],
  ])('is taken over from a run %s', async (_, changes) => {
    const folder = await temporaryFolder();
    await writeLock(folder, changes());
    const lock = lockOf(folder);
    await lock.take();
    expect(await holderIn(folder)).toMatchObject({ pid: process.pid });
    expect(messages).toEqual([expect.stringMatching(/^The lock of .* was taken over: process \d+ on /)]);
    await lock.release();
    expect(await readdir(folder)).toEqual([]);
  });

  it('is taken over from an earlier run of this process that left it, not from another thread', async () => {
    const folder = await temporaryFolder();
    await writeLock(folder, {});
    await lockOf(folder).take();
    const other = await temporaryFolder();
    await writeLock(other, { thread: 99 });
    expect(await refusal(lockOf(other))).toMatchObject({ code: 'OUTPUT_LOCKED' });
  });

  it('is refused while its process runs', async () => {
    const folder = await temporaryFolder();
    await writeLock(folder, { pid: process.ppid, started: null });
    expect(await refusal(lockOf(folder))).toMatchObject({
      code: 'OUTPUT_LOCKED',
      hint: expect.stringContaining(`kill ${process.ppid}`) as string,
    });
  });

  it.each([
    ['machine', { host: 'node7' }],
    ['container', { container: 'pid:[1]' }],
  ])('of another %s says what to do, and is stale after five minutes without a renewal', async (_, changes) => {
    const folder = await temporaryFolder();
    await writeLock(folder, { ...changes, pid: ended() });
    await utimes(lockFile(folder), minutesAgo(4), minutesAgo(4));
    expect(await refusal(lockOf(folder))).toMatchObject({
      code: 'OUTPUT_LOCKED',
      hint: expect.stringMatching(/renewed its lock 24\d s ago. If it has ended, delete .*\.run\.lock\./) as string,
    });
    await utimes(lockFile(folder), minutesAgo(6), minutesAgo(6));
    await lockOf(folder).take();
    expect(await holderIn(folder)).toMatchObject({ pid: process.pid });
  });

  it('of the same job of Slurm is stale once the job was restarted, on any machine', async () => {
    const folder = await temporaryFolder();
    await writeLock(folder, { host: 'node7', job: { id: '42', restarts: 0 } });
    vi.stubEnv('SLURM_JOB_ID', '42');
    // Another task of the same job.
    expect(await refusal(lockOf(folder))).toMatchObject({ code: 'OUTPUT_LOCKED' });
    vi.stubEnv('SLURM_RESTART_COUNT', '1');
    await lockOf(folder).take();
    expect(await holderIn(folder)).toMatchObject({ job: { id: '42', restarts: 1 } });
  });

  it('that is not a lock of Whetstone is refused, until it is old', async () => {
    const folder = await temporaryFolder();
    await writeFile(lockFile(folder), '');
    expect(await refusal(lockOf(folder))).toMatchObject({ code: 'OUTPUT_LOCKED' });
    await utimes(lockFile(folder), minutesAgo(6), minutesAgo(6));
    await lockOf(folder).take();
    expect(await holderIn(folder)).toMatchObject({ pid: process.pid });
  });

  it('is taken over by exactly one of many runs, also after a takeover that was killed', async () => {
    for (const isKilled of [false, true]) {
      const folder = await temporaryFolder();
      await writeLock(folder, { pid: ended() });
      const stale = await readFile(lockFile(folder), 'utf8');
      if (isKilled) await writeLock(folder, { pid: ended(), token: 'ef' }, `${lockFile(folder)}.after-abcd`);
      await writeFile(lockFile(folder), stale);
      const outcomes = await Promise.all(Array.from({ length: 20 }, () => refusal(lockOf(folder))));
      expect(outcomes.filter((outcome) => outcome === null)).toHaveLength(1);
      for (const outcome of outcomes) if (outcome !== null) expect(outcome).toMatchObject({ code: 'OUTPUT_LOCKED' });
      expect(await readdir(folder)).toEqual(['.run.lock', '.run.status']);
    }
  });
});

describe('a run whose folder another run writes to', () => {
  const training = { maxSteps: 2, saveStrategy: 'steps', saveSteps: 1 };

  it.each([
    ['to resume it', { training: { ...training, resumeFromCheckpoint: true } }],
    ['to overwrite it', { output: { overwrite: true } }],
    ['with stages', { training: { ...training, resumeFromCheckpoint: true }, stages: [{ name: 'one' }] }],
  ])(
    'is refused %s, and changes nothing',
    async (_, more: { readonly output?: object; readonly training?: object }) => {
      const folder = join(await temporaryFolder(), 'run');
      const steps: number[] = [];
      for await (const { step } of tinyTrainer({ output: { folder }, training })) {
        steps.push(step);
        if (step > 1) continue;
        const before = await readdir(folder);
        const second = tinyTrainer({ training, ...more, output: { folder, ...more.output } });
        await expect(second.run()).rejects.toMatchObject({ code: 'OUTPUT_LOCKED', details: { pid: process.pid } });
        expect(await readdir(folder)).toEqual(before);
      }
      expect(steps).toEqual([1, 2]);
      expect(await readdir(folder)).not.toContain('.run.lock');
    },
  );
});
