import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeResultManifest } from '@whetstone/core/files';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { damagedModels, fetchedModelFolder, fetchModel } from './fetched-models.js';
import { createTinyModel } from './tiny-model.js';

let cache: string;
const { WHETSTONE_PYTHON: python } = process.env;

beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), 'whetstone-models-'));
  process.env['WHETSTONE_PYTHON'] = join(cache, 'no-python');
});
afterEach(async () => {
  if (python === undefined) delete process.env['WHETSTONE_PYTHON'];
  else process.env['WHETSTONE_PYTHON'] = python;
  await rm(cache, { recursive: true, force: true });
});

test('a model in the cache is used as it is, and fetched again if it is damaged', async () => {
  const name = 'smollm2-135m';
  const folder = fetchedModelFolder(name, cache);
  await createTinyModel(folder, { hiddenSize: 32, layers: 1 });
  await writeResultManifest(folder);
  expect(await fetchModel(name, { cache })).toBe(folder);
  expect(await damagedModels(cache)).toEqual([]);

  await appendFile(join(folder, 'model.safetensors'), 'x');
  const messages: string[] = [];
  const fetching = fetchModel(name, { cache, onMessage: (message) => messages.push(message) });
  // It is fetched, which needs Python.
  await expect(fetching).rejects.toMatchObject({ code: 'DOWNLOAD_FAILED' });
  expect(messages.join()).toContain('is damaged');
  expect((await damagedModels(cache)).map((model) => model.name)).toEqual([name]);
});
