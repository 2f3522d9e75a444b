import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { start, writeProject } from './support/workers.js';

/* What the launcher of several processes reports. Its workers fail before they compute: no library is needed. */

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-launcher-'));
  await writeProject(folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

it('a worker that crashes is reported with its own error', { timeout: 120_000 }, async () => {
  await writeFile(
    join(folder, 'crash.mjs'),
    `if (JSON.parse(process.env.TF_CONFIG).task.index === 1)
      await new Promise(() => setTimeout(() => { throw new TypeError('an error of worker 1'); }, 0));
    export default {
      apiVersion: 2,
      kind: 'callback',
      name: 'crash',
      configSchema: { type: 'object', properties: {}, additionalProperties: false },
      create: () => ({}),
    };`,
  );
  const { code, errors } = await start(folder, [
    '--processes',
    '2',
    '--set',
    'training.ddpTimeout=1',
    '--set',
    'callbacks=["./crash.mjs"]',
  ]).ended;
  expect(code).toBe(1);
  expect(errors).toContain('[INTERNAL] Worker 1: an error of worker 1');
});
