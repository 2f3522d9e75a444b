import { execFile, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

// The command as it is installed, in a process of its own and a hostile environment.
const main = fileURLToPath(new URL('../../bin/whetstone.js', import.meta.url));

const secrets = {
  HF_TOKEN: 'hf_abcdefghijklmnop',
  NPM_TOKEN: 'npm_qrstuvwxyz012345',
  MY_SERVICE_API_KEY: 'a-key-of-no-known-form',
  HTTPS_PROXY: 'http://proxy-user:proxy-secret@127.0.0.1:1',
};
const hidden = /hf_abc|npm_qrs|a-key-of|proxy-secret|pw-of-endpoint|ada\.lovelace|private words/;

/** A user without a name and a home folder. Only root may start its processes, and only if that user may read Node. */
const nobody = { uid: 54_321, gid: 54_321 };
const canRunAsNobody =
  process.getuid?.() === 0 && spawnSync(process.execPath, ['--version'], { cwd: '/', ...nobody }).status === 0;

let root: string;
let project: string;

interface Outcome {
  readonly code: number;
  readonly text: string;
  readonly json: Readonly<Record<string, unknown>>;
}

/** Runs the command with `--json` in the folder of the project. */
function doctor(
  parameters: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = {},
  ids: { readonly uid?: number; readonly gid?: number } = {},
): Promise<Outcome> {
  const env = {
    PATH: process.env['PATH'],
    HOME: join(root, 'ada.lovelace'),
    USER: 'ada.lovelace',
    WHETSTONE_CACHE: join(root, 'ada.lovelace', 'cache'),
    WHETSTONE_PYTHON: join(root, 'no-python'),
    NODE_ENV: 'test',
    ...secrets,
    ...environment,
  };
  return new Promise((resolve) => {
    execFile(process.execPath, [main, 'doctor', ...parameters, '--json'], { cwd: project, env, ...ids }, (...all) => {
      const [error, stdout, stderr] = all;
      const code = error === null ? 0 : Number(error.code);
      resolve({ code, text: stdout + stderr, json: JSON.parse(stdout || '{}') as Outcome['json'] });
    });
  });
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'whetstone-doctor-'));
  project = join(root, 'ada.lovelace', 'project');
  const cache = join(root, 'ada.lovelace', 'cache');
  const folders = ['tensorflow-cpu-1.0.0', 'models/broken', 'models/changed', 'xla-modules', 'tokenized/abc'];
  for (const folder of folders) await mkdir(join(cache, folder), { recursive: true });
  await mkdir(join(project, 'runs', 'mine'), { recursive: true });
  const files: Readonly<Record<string, string>> = {
    [join(cache, 'tensorflow-cpu-1.0.0', 'install.json')]: '{"files": [{"path": "lib.so", "bytes": 10}]}',
    [join(cache, 'models/changed/config.json')]: '{}',
    [join(cache, 'models/changed/manifest.json')]: JSON.stringify({
      format: 'whetstone-result',
      version: 1,
      files: { 'config.json': { bytes: 3, sha256: '00' } },
    }),
    [join(cache, 'xla-modules', 'abc.module')]: 'whetstone xla module 2\nnothing',
    [join(cache, 'tokenized/abc/store.json')]: '{"format": 2',
    // Comments are allowed, and nothing that it names is loaded.
    [join(project, 'run.json')]: `{
      // a configuration
      "callbacks": ["./ends-the-process.mjs"],
      "endpoint": "http://me:pw-of-endpoint@localhost/v1",
      "output": { "folder": "runs/mine" }
    }`,
    [join(project, 'ends-the-process.mjs')]: 'process.exit(99);',
    [join(project, 'broken.json')]: '{ "output": private words',
    [join(project, 'runs', 'mine', '.last-error.json')]: JSON.stringify({
      format: 'whetstone-last-error',
      code: 'PLUGIN_FAILED',
      message: `http://me:pw-of-endpoint@localhost/v1 failed for ${secrets.HF_TOKEN} in ${root}/ada.lovelace/x`,
      step: 7,
      time: '2026-01-02T03:04:05.000Z',
    }),
  };
  for (const [file, text] of Object.entries(files)) await writeFile(file, text);
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe('whetstone doctor', () => {
  test('prints every section without credentials, contents and the name of the user', async () => {
    const { code, text, json } = await doctor([]);
    expect(text).not.toMatch(hidden);
    expect(code, text).toBe(0);
    expect(json).toMatchObject({
      versions: { node: process.version, packages: { '@whetstone/core': expect.stringMatching(/^\d/) } },
      backend: { auto: { backend: expect.any(String), reason: expect.stringContaining('Computing on') } },
      memory: { totalBytes: expect.any(Number), heapLimitBytes: expect.any(Number) },
      disk: { cache: { folder: '~/cache', freeBytes: expect.any(Number), writable: true } },
      lastRun: {
        folder: '~/project/runs/mine',
        error: {
          code: 'PLUGIN_FAILED',
          message: 'http://localhost/v1 failed for [hidden] in ~/x',
          step: 7,
        },
      },
      problems: [],
    });
    const damaged = Object.fromEntries(
      (json['caches'] as readonly { readonly name: string; readonly damaged: readonly { name: string }[] }[]).map(
        (cache) => [cache.name, cache.damaged.map(({ name }) => name)],
      ),
    );
    expect(damaged).toEqual({
      libraries: ['tensorflow-cpu-1.0.0'],
      models: ['broken', 'changed'],
      'compiled modules': ['abc.module'],
      tokens: ['abc'],
      downloads: [],
    });
    // The same as text.
    for (const title of ['Versions', 'Backend', 'Memory', 'Disk', 'Caches', 'Last run']) expect(text).toContain(title);
    expect(text).toContain('Nothing was found that prevents training.');
  });

  test('names three damaged entries of a cache as text, and says how many there are', async () => {
    const modules = join(root, 'modules-cache', 'xla-modules');
    await mkdir(modules, { recursive: true });
    for (const name of ['a', 'b', 'c', 'd', 'e']) await writeFile(join(modules, `${name}.module`), 'damaged');
    await mkdir(join(root, 'modules-cache', 'test-peers-1'));
    const { text } = await doctor([], { WHETSTONE_CACHE: join(root, 'modules-cache') });
    expect(text).toMatch(/damaged: \w\.module: [^;]+; \w\.module: [^;]+; \w\.module: [^;]+; and 2 more/);
    expect(text).not.toContain('test-peers-1');
  });

  test('fails if the output folder cannot be written, and reads the other sections', async () => {
    await writeFile(join(project, 'a-file'), '');
    const { code, text, json } = await doctor(['broken.json', '--output', 'a-file/run'], { HOME: undefined });
    expect(text).not.toMatch(/hf_abc|private words/);
    expect(code).toBe(1);
    expect(json['problems']).toEqual(['Nothing can be written to the output folder.']);
    expect(json['versions']).toHaveProperty('node');
  });

  test.skipIf(!canRunAsNobody)(
    'works for a user without a name, a home folder and a cache, and says why a section cannot be read',
    async () => {
      const unknown = { HOME: undefined, USER: undefined, WHETSTONE_CACHE: undefined };
      // What mkdtemp makes is only for the user who made it.
      const { code, text, json } = await doctor(['broken.json'], unknown, nobody);
      expect(text).not.toMatch(/hf_abc|private words/);
      expect(code, text).toBe(0);
      expect(json['lastRun']).toEqual({ error: expect.stringMatching(/configuration file/) });
      expect(json['disk']).toMatchObject({ cache: { exists: false } });
      expect(json['backend']).toHaveProperty('auto.reason');
    },
  );
});
