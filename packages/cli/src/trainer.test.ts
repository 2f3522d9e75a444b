import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Trainer } from './index.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-trainer-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('a local TypeScript plugin without node_modules imports the running copy of whetstone', async () => {
  await writeFile(
    join(folder, 'mine.ts'),
    `import { Trainer } from 'whetstone';
    import { definePlugin } from '@whetstone/core/contract';
    import { createRandom } from '@whetstone/core/random';
    const registry = globalThis as { sharedWithPlugin?: unknown };
    registry.sharedWithPlugin = { Trainer, draw: createRandom(1).uniform() };
    export default definePlugin({
      apiVersion: 2,
      kind: 'callback',
      name: 'mine',
      configSchema: { type: 'object', additionalProperties: false },
      create: () => ({ onStep: () => undefined }),
    });`,
  );
  await writeFile(
    join(folder, 'run.json'),
    JSON.stringify({
      model: './tiny',
      strategy: 'full',
      output: { folder: 'run' },
      data: { train: 'train.jsonl' },
      callbacks: [{ use: './mine.ts' }],
    }),
  );
  const resolved = await new Trainer(join(folder, 'run.json')).resolve();
  expect(resolved.callbacks.map(({ use }) => use)).toEqual(['./mine.ts']);
  expect((globalThis as { sharedWithPlugin?: { Trainer: unknown } }).sharedWithPlugin?.Trainer).toBe(Trainer);
});
