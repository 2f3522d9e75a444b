import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { createTinyModel } from 'whetstone';
import { describe, expect, it } from 'vitest';
import { execute, repository } from '../support/execute.js';
import { temporaryFolder } from '../support/temporary-folder.js';

// The processes run the build, as `npm test` makes it.

const command = join(repository, 'packages/cli/dist/main.js');

/** Writes the configuration of a long run of a tiny model, with a callback of the test. */
async function writeRun(onStep: string): Promise<{ readonly root: string; readonly run: string }> {
  const root = await temporaryFolder();
  await createTinyModel(join(root, 'model'), { hiddenSize: 32, layers: 1 });
  const row = {
    messages: [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: 'Hello' },
    ],
  };
  await writeFile(join(root, 'data.jsonl'), `${JSON.stringify(row)}\n`.repeat(4));
  await writeFile(
    join(root, 'callback.mjs'),
    `export default { apiVersion: 2, kind: 'callback', name: 'test', description: 'A test.',
      configSchema: { type: 'object', properties: {}, additionalProperties: false },
      create: () => ({ onStep: async ({ step }) => { ${onStep} } }) };`,
  );
  const config = {
    model: './model',
    backend: 'cpu',
    data: { train: './data.jsonl' },
    strategy: 'full',
    callbacks: ['./callback.mjs'],
    loggers: [],
    training: { maxSteps: 100, perDeviceTrainBatchSize: 1, saveStrategy: 'no' },
    output: { folder: './run' },
  };
  await writeFile(join(root, 'run.json'), JSON.stringify(config));
  return { root, run: join(root, 'run') };
}

const again = (root: string, ...more: readonly string[]) =>
  execute(process.execPath, [command, 'train', 'run.json', '--set', 'training.maxSteps=1', ...more], root);

/** Starts the run, and returns once its status shows this step. */
async function startUntil(root: string, step: number): Promise<ChildProcess> {
  const child = spawn(process.execPath, [command, 'train', 'run.json'], { cwd: root, stdio: 'ignore' });
  for (;;) {
    if (child.exitCode !== null) throw new Error(`The run ended with exit code ${child.exitCode}.`);
    const text = await readFile(join(root, 'run', '.run.status'), 'utf8').catch(() => '');
    if (text.includes(`"step":${step},`)) return child;
    await wait(20);
  }
}

describe.skipIf(process.platform === 'win32')('a run that was killed', () => {
  it(
    'is explained at the next start in its folder: when, where, and with how much memory',
    { timeout: 60_000 },
    async () => {
      const { root, run } = await writeRun('if (step > 1) await new Promise((resolve) => setTimeout(resolve, 300));');
      const child = await startUntil(root, 3);
      child.kill('SIGKILL');
      await once(child, 'exit');
      expect(await readdir(run)).toEqual(expect.arrayContaining(['.run.lock', '.run.status']));
      const what = new RegExp(
        `warning: The last run in ${run} did not finish: process ${child.pid} on \\S+, since \\S+, was last seen at ` +
          '20\\S+, after step [34] of 100\\. It last used \\d+ MB of memory\\. ' +
          '\\S+ \\wB of the limit of .*, were in use\\. ',
      );
      // The folder is refused, and remains as it is.
      const refused = await again(root);
      expect(refused.stderr).toMatch(what);
      expect(refused.stderr).toContain('[OUTPUT_EXISTS]');
      const resumed = await again(root, '--resume');
      expect(resumed.stderr).toMatch(what);
      expect(resumed.code).toBe(0);
      expect((await readdir(run)).filter((name) => name.startsWith('.run'))).toEqual([]);
    },
  );
});

/** Creates a cgroup below that of this process in which 400 MB are allowed; null if that is not possible here. */
function createCgroup(): string | null {
  try {
    const own = readFileSync('/proc/self/cgroup', 'utf8');
    const [version, path] =
      /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m.exec(own)?.[1] === undefined
        ? ([2, /^0::(.*)$/m.exec(own)?.[1]] as const)
        : ([1, /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m.exec(own)?.[1]] as const);
    const folder = join(
      version === 1 ? '/sys/fs/cgroup/memory' : '/sys/fs/cgroup',
      path ?? '',
      `whetstone-${process.pid}`,
    );
    mkdirSync(folder);
    try {
      writeFileSync(join(folder, version === 1 ? 'memory.limit_in_bytes' : 'memory.max'), String(400e6));
      if (existsSync(join(folder, 'memory.swap.max'))) writeFileSync(join(folder, 'memory.swap.max'), '0');
      return folder;
    } catch {
      rmdirSync(folder);
      return null;
    }
  } catch {
    return null;
  }
}

describe('a run in a cgroup with too little memory', () => {
  it('was probably killed for it, as the next one says', { timeout: 60_000 }, async ({ skip }) => {
    const cgroup = createCgroup();
    if (cgroup === null) return skip('no cgroup can be created here');
    try {
      const { root } = await writeRun('globalThis.kept = [globalThis.kept, Buffer.alloc(1e8, 1)];');
      const inside = (...more: readonly string[]) =>
        execute(
          'bash',
          [
            '-c',
            // A bash that stays: the signal of its child becomes an exit code.
            'echo $$ > "$1/cgroup.procs"; shift; "$@"; code=$?; exit $code',
            'bash',
            cgroup,
            process.execPath,
            command,
            'train',
            'run.json',
            ...more,
          ],
          root,
        );
      expect((await inside()).code).toBe(137);
      const { stderr, code } = await inside('--set', 'training.maxSteps=1', '--resume');
      expect(stderr).toMatch(
        new RegExp(
          'after step \\d+ of 100\\. It last used .* of memory\\. ' +
            `.* of the limit of the cgroup ${cgroup}, 400 MB, were in use\\. ` +
            `Since then, the kernel has killed a process in the cgroup ${cgroup} ` +
            'because its memory was exhausted, so this one was probably killed for lack of memory\\.',
        ),
      );
      expect(code).toBe(0);
    } finally {
      rmdirSync(cgroup);
    }
  });
});
