import { spawn } from 'node:child_process';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isWhetstoneError, type StepReport, type WhetstoneError } from '@whetstone/core/contract';
import { describe, expect, it } from 'vitest';
import { Trainer } from '../../packages/cli/src/trainer.js';
import { execute, repository } from '../support/execute.js';
import { temporaryFolder } from '../support/temporary-folder.js';

// What every version of Whetstone left behind is read by this one. `scripts/make-version-fixtures.mjs` wrote the
// folders; the expected numbers are those of the run that was not interrupted, from its own metrics.jsonl. The command
// is the built one, as `npm test` makes it.

const versions = (await readdir(join(repository, 'test/versions'), { withFileTypes: true }))
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)
  .toSorted((one, other) => one.localeCompare(other, 'en', { numeric: true }));
const patience = { timeout: 240_000 };

const command = (folder: string, ...parameters: string[]) =>
  execute(process.execPath, [join(repository, 'packages/cli/bin/whetstone.js'), ...parameters], folder);

/** A copy of a version's folder. */
async function copyOf(version: string): Promise<string> {
  const folder = join(await temporaryFolder(), version);
  await cp(join(repository, 'test/versions', version), folder, { recursive: true });
  return folder;
}

async function reportsOf(trainer: Trainer): Promise<StepReport[]> {
  const reports: StepReport[] = [];
  for await (const report of trainer) reports.push(report);
  return reports;
}

async function errorOf(run: Promise<unknown>): Promise<WhetstoneError> {
  const error: unknown = await run.catch((failure: unknown) => failure);
  if (isWhetstoneError(error)) return error;
  throw new Error(`It was no error of Whetstone: ${String(error)}`);
}

interface LogLine {
  readonly type: 'step' | 'evaluation' | 'end';
  readonly step: number;
  readonly loss: number;
  readonly gradNorm: number;
  readonly ewcPenalty: number;
}

async function logOf(folder: string): Promise<LogLine[]> {
  const text = await readFile(join(folder, 'metrics.jsonl'), 'utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as LogLine);
}

/** Steps of a log by their numbers, without how long they took. */
const stepsOf = (lines: readonly LogLine[], from: number) =>
  lines
    .filter(({ type, step }) => type === 'step' && step >= from)
    .map(({ step, loss, gradNorm, ewcPenalty }) => ({ step, loss, gradNorm, ewcPenalty }));

/** Changes a JSON file. */
async function change(file: string, edit: (value: Record<string, unknown>) => void): Promise<void> {
  const value = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  edit(value);
  await writeFile(file, JSON.stringify(value));
}

describe.each(versions)('files of version %s', patience, (version) => {
  it('they name no folder of the machine on which they were made', async () => {
    const folder = join(repository, 'test/versions', version);
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    expect(files).toContain(join(folder, 'memory/fisher.safetensors'));
    for (const file of files)
      expect(await readFile(file, 'latin1'), file).not.toMatch(/\/(?:tmp|var|home|root|Users|work)\//);
    const text = await readFile(join(folder, 'run/config.resolved.json'), 'utf8');
    expect(JSON.parse(text)).toMatchObject({ baseFolder: '/fixture' });
  });

  it('a run resumes from its checkpoint exactly', async () => {
    const folder = await copyOf(version);
    const whole = await logOf(join(folder, 'run'));
    const resumed = new Trainer(join(folder, 'run.json'), { overrides: ['training.resumeFromCheckpoint=true'] });
    const warnings: string[] = [];
    resumed.on('warning', ({ message }) => void warnings.push(message));
    await reportsOf(resumed);
    expect(warnings.filter((message) => message.includes('checkpoint'))).toEqual([]);

    const log = await logOf(join(folder, 'run'));
    expect(stepsOf(log, 4)).toHaveLength(3);
    expect(stepsOf(log, 1)).toEqual(stepsOf(whole, 1));
    const before = await readFile(join(repository, 'test/versions', version, 'run/adapter/adapter_model.safetensors'));
    expect(await readFile(join(folder, 'run/adapter/adapter_model.safetensors'))).toEqual(before);
  });

  it('a run resumes in its second stage exactly', async () => {
    const folder = await copyOf(version);
    const expected = JSON.parse(await readFile(join(folder, 'staged-losses.json'), 'utf8')) as unknown[];
    const resumed = new Trainer(join(folder, 'staged.json'), { overrides: ['training.resumeFromCheckpoint=true'] });
    const reports = await reportsOf(resumed);
    expect(reports.map(({ stage, step, loss }) => ({ stage, step, loss }))).toEqual(expected.slice(2));
  });

  it('a run repeats from the configuration in its folder', async () => {
    const folder = await copyOf(version);
    const whole = await logOf(join(folder, 'run'));
    const file = join(folder, 'run/config.resolved.json');
    const text = await readFile(file, 'utf8');
    // The configuration has absolute paths, with `/fixture` for the folder in which it was made.
    const { baseFolder } = JSON.parse(text) as { readonly baseFolder: string };
    await writeFile(join(folder, 'repeated.json'), text.replaceAll(JSON.stringify(baseFolder).slice(1, -1), folder));
    // What a run has seen goes into the replay buffer of the next one: it begins as it was before.
    await rm(join(folder, 'memory/replay.jsonl'));
    await reportsOf(new Trainer(join(folder, 'repeated.json'), { overrides: ['output.overwrite=true'] }));
    expect(stepsOf(await logOf(join(folder, 'run')), 1)).toEqual(stepsOf(whole, 1));
  });

  it('its adapter is evaluated, answers, and merges', async () => {
    const folder = await copyOf(version);
    const expected = (await logOf(join(folder, 'run'))).findLast(({ type }) => type === 'evaluation');
    const adapter = ['--adapter', 'run/adapter', '--backend', 'cpu'];
    const data = ['--data', 'eval.jsonl', '--max-length', '96', '--json'];
    const lossOf = async (...parameters: string[]) => {
      const { code, stdout, stderr } = await command(folder, 'evaluate', ...parameters, ...data);
      expect(code, stderr).toBe(0);
      return (JSON.parse(stdout) as { readonly loss: number }).loss;
    };
    // Batches of other shapes: equal up to the rounding of float32.
    expect(await lossOf('model', ...adapter)).toBeCloseTo(expected?.loss ?? NaN, 5);

    const reply = await command(
      folder,
      'generate',
      'model',
      ...adapter,
      '--prompt',
      'Is it far?',
      '--max-new-tokens',
      '4',
      '--json',
    );
    expect(reply.code, reply.stderr).toBe(0);
    expect((JSON.parse(reply.stdout) as { readonly replies: unknown[] }).replies).toHaveLength(1);
    const chat = await chatWith(folder, 'Is it far?\n', 'model', ...adapter, '--max-new-tokens', '4');
    expect(chat).toBe(0);

    const merged = await command(folder, 'merge', 'model', 'run/adapter', 'merged', '--backend', 'cpu', '--json');
    expect(merged.code, merged.stderr).toBe(0);
    expect(await lossOf('merged', '--backend', 'cpu')).toBeCloseTo(expected?.loss ?? NaN, 5);
  });

  it('the data of its runs is compared', async () => {
    const folder = await copyOf(version);
    const { code, stdout, stderr } = await command(folder, 'data', 'diff', 'run', 'run', '--json');
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ changes: [] });
  });
});

/** A conversation by lines on standard input; answers the exit code. */
async function chatWith(cwd: string, input: string, ...parameters: string[]): Promise<number | null> {
  const child = spawn(process.execPath, [join(repository, 'packages/cli/bin/whetstone.js'), 'chat', ...parameters], {
    cwd,
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  child.stdin.end(input);
  return new Promise((resolve) => child.on('close', resolve));
}

describe('files of a later version', patience, () => {
  const newest = versions.at(-1) ?? '';
  const resume = (folder: string, config: string, checkpoint: unknown) =>
    errorOf(
      new Trainer(join(folder, config), {
        overrides: [`training.resumeFromCheckpoint=${JSON.stringify(checkpoint)}`],
      }).run(),
    );

  it('a checkpoint is refused with the version to install, and no older one is taken in its place', async () => {
    const folder = await copyOf(newest);
    await cp(join(folder, 'run/checkpoint-3'), join(folder, 'run/checkpoint-5'), { recursive: true });
    // A later format may list its files otherwise.
    await change(join(folder, 'run/checkpoint-5/manifest.json'), (manifest) =>
      Object.assign(manifest, { version: 2, whetstone: '1.2.0', files: [] }),
    );
    for (const wanted of [true, 'run/checkpoint-5']) {
      const error = await resume(folder, 'run.json', wanted);
      expect(error).toMatchObject({
        code: 'VERSION_UNSUPPORTED',
        message: 'The checkpoint was written by a newer version of Whetstone.',
        expected: 'format version 1',
        found: 'format version 2, written by Whetstone 1.2.0',
        hint: 'Install Whetstone 1.2.0 or later, or use a file that this version wrote.',
        place: { file: join(folder, 'run/checkpoint-5/manifest.json') },
      });
    }
  });

  it('a checkpoint with a version that is not a number is refused', async () => {
    const folder = await copyOf(newest);
    await change(join(folder, 'run/checkpoint-3/manifest.json'), (manifest) =>
      Object.assign(manifest, { version: 'two' }),
    );
    expect(await resume(folder, 'run.json', true)).toMatchObject({
      code: 'VERSION_UNSUPPORTED',
      found: expect.stringContaining('"two"') as string,
    });
  });

  it('a list of stages is refused', async () => {
    const folder = await copyOf(newest);
    await change(join(folder, 'staged/stages.json'), (list) => Object.assign(list, { version: 2 }));
    expect(await resume(folder, 'staged.json', true)).toMatchObject({
      code: 'VERSION_UNSUPPORTED',
      place: { file: join(folder, 'staged/stages.json') },
    });
  });

  it('a replay buffer is refused before its rows are read', async () => {
    const folder = await copyOf(newest);
    const file = join(folder, 'memory/replay.jsonl');
    await writeFile(
      file,
      `${JSON.stringify({ format: 'whetstone-replay', version: 2, offered: 1 })}\n{"rows": "other"}\n`,
    );
    expect(await resume(folder, 'run.json', true)).toMatchObject({ code: 'VERSION_UNSUPPORTED', place: { file } });
  });

  it('a Fisher file is refused', async () => {
    const folder = await copyOf(newest);
    const file = join(folder, 'memory/fisher.safetensors');
    const bytes = await readFile(file);
    const marker = Buffer.from('\\"version\\":1');
    const at = bytes.indexOf(marker);
    expect(at).toBeGreaterThan(0);
    bytes.write('2', at + marker.length - 1);
    await writeFile(file, bytes);
    expect(await resume(folder, 'run.json', true)).toMatchObject({ code: 'VERSION_UNSUPPORTED', place: { file } });
  });

  it('a configuration with a setting that is not known is refused by its name', async () => {
    const folder = await copyOf(newest);
    const file = join(folder, 'run/config.resolved.json');
    await change(file, (config) => Object.assign(config['training'] as object, { quantumSteps: 1 }));
    const error = await errorOf(new Trainer(file).resolve());
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.toString()).toContain('quantumSteps');
  });

  it('an adapter of an unknown type is refused by its name', async () => {
    const folder = await copyOf(newest);
    await change(join(folder, 'run/adapter/adapter_config.json'), (config) =>
      Object.assign(config, { peft_type: 'QUANTUM' }),
    );
    const adapter = ['--adapter', 'run/adapter', '--backend', 'cpu'];
    const { code, stderr } = await command(folder, 'generate', 'model', ...adapter, '--prompt', 'Hello');
    expect(code).toBe(1);
    expect(stderr).toMatch(/ADAPTER_INVALID[^]*QUANTUM/);
  });

  it('the description of the data of a run is refused', async () => {
    const folder = await copyOf(newest);
    await change(join(folder, 'run/data.json'), (data) => Object.assign(data['train'] as object, { format: 2 }));
    const { code, stderr } = await command(folder, 'data', 'diff', 'run', 'run');
    expect(code).toBe(1);
    expect(stderr).toContain('VERSION_UNSUPPORTED');
  });
});

it('the newest folder is of the formats that this version writes', patience, async () => {
  const folder = await copyOf(versions.at(-1) ?? '');
  const versionOf = async (file: string) =>
    (JSON.parse(await readFile(join(folder, file), 'utf8')) as { version: number }).version;
  const before = [await versionOf('run/checkpoint-3/manifest.json'), await versionOf('staged/stages.json')];
  await new Trainer(join(folder, 'run.json'), { overrides: ['output.overwrite=true'] }).run();
  // The first stage of 0.1.0 has one step, which its warmup leaves without effect: that is refused today.
  const overrides = ['output.overwrite=true', 'schedule.warmupSteps=0'];
  await new Trainer(join(folder, 'staged.json'), { overrides }).run();
  const hint = 'The format has changed: run scripts/make-version-fixtures.mjs and commit what it writes.';
  expect([await versionOf('run/checkpoint-3/manifest.json'), await versionOf('staged/stages.json')], hint).toEqual(
    before,
  );
});
