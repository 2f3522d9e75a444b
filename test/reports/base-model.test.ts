import '@tensorflow/tfjs-backend-cpu';
import { cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hashBase, writeOrigin } from '@whetstone/core/checkpoint';
import type { Json, LanguageModel } from '@whetstone/core/contract';
import { loadLanguageModel, saveModelFolder } from '@whetstone/models';
import { loadAdapter, mergeAdapter, readAdapterFolder } from '@whetstone/strategies';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { prefixStrategy } from '../../packages/strategies/src/prompt/p-tuning-v2.js';
import { goldenPath } from '../support/golden.js';

let root: string;
/** A copy of a model, and the same model with other norms. */
let base: string;
let other: string;
beforeAll(async () => {
  await tf.setBackend('cpu');
  root = await mkdtemp(join(tmpdir(), 'whetstone-base-'));
  [base, other] = [join(root, 'base-model'), join(root, 'other-model')];
  await cp(goldenPath('models', 'llama'), base, { recursive: true });
  const model = await loadLanguageModel(base);
  const norm = model.parameters.get('model.norm.weight') ?? expect.fail('no norm');
  const changed = tf.tidy(() => tf.add(norm, 0.5));
  await saveModelFolder(model, other, { replaced: new Map([['model.norm.weight', changed]]) });
  changed.dispose();
  model.dispose();
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** Writes an adapter of PEFT whose configuration names a base model; `trainedOn` is recorded with its hash. */
async function adapterWith(
  name: string | null,
  { trainedOn, golden = 'lora-llama' }: { readonly trainedOn?: string; readonly golden?: string } = {},
): Promise<string> {
  const folder = await mkdtemp(join(root, 'adapter-'));
  for (const file of ['adapter_config.json', 'adapter_model.safetensors'])
    await cp(join(goldenPath('peft', golden), file), join(folder, file));
  const file = join(folder, 'adapter_config.json');
  const config = JSON.parse(await readFile(file, 'utf8')) as Record<string, Json>;
  await writeFile(file, JSON.stringify({ ...config, base_model_name_or_path: name }));
  if (trainedOn !== undefined)
    await writeOrigin(folder, { strategy: null, base: { folder: name, hash: await hashBase(trainedOn) } });
  return folder;
}

/** Uses an adapter in every way; returns the warnings, which must be the same each time. */
async function warningsOf(model: LanguageModel, folder: string): Promise<readonly string[]> {
  const files = await readAdapterFolder(folder);
  const used: string[][] = [[], [], []];
  const warn = (index: number) => (message: string) => void used[index]?.push(message);
  (await loadAdapter(model, files, [], { warn: warn(0) })).dispose();
  (await mergeAdapter(model, files, [], { warn: warn(1) })).dispose();
  files.dispose();
  const run = { seed: 1, totalSteps: 1, modelFolder: model.folder, warn: warn(2) };
  (await loraStrategy({ adapter: folder }).attach(model, run)).dispose();
  expect(used[1]).toEqual(used[0]);
  expect(used[2]).toEqual(used[0]);
  return used[0] ?? [];
}

describe('an adapter on another base model', () => {
  it.each<[string, () => Promise<string>, 0 | 1]>([
    ['its own model', () => adapterWith(base, { trainedOn: base }), 0],
    ['its own model, which was moved', () => adapterWith('/gone/another-name', { trainedOn: base }), 0],
    ['a model of other weights, by the recorded hash', () => adapterWith(base, { trainedOn: other }), 1],
    ['a model of other weights with the same name', () => adapterWith('/gone/base-model', { trainedOn: other }), 1],
    ['its own model, by path', () => adapterWith(base), 0],
    ['a copy of its model under another path', () => adapterWith(goldenPath('models', 'llama')), 0],
    ['a model of other weights, by path', () => adapterWith(other), 1],
    ['a model of the same name elsewhere', () => adapterWith('/gone/Base-Model/'), 0],
    ['a model of the same name on a hub', () => adapterWith('someone/base-model'), 0],
    ['a model in the cache of a hub', () => adapterWith('/x/models--someone--base-model/snapshots/0a1b'), 0],
    ['a model of another name', () => adapterWith('someone/another-model'), 1],
    ['an unknown model', () => adapterWith(null), 0],
  ])('%s', async (_, make, count) => {
    const model = await loadLanguageModel(base);
    const folder = await make();
    const warnings = await warningsOf(model, folder);
    expect(warnings).toHaveLength(count);
    const { base_model_name_or_path: name } = JSON.parse(
      await readFile(join(folder, 'adapter_config.json'), 'utf8'),
    ) as { readonly base_model_name_or_path: string };
    for (const warning of warnings) {
      expect(warning).toContain(name);
      expect(warning).toContain(base);
    }
    model.dispose();
  });

  it('warns as well if a prefix is trained on', async () => {
    const model = await loadLanguageModel(base);
    const warnings: string[] = [];
    const adapter = await adapterWith('someone/another-model', { golden: 'prefix-llama' });
    const run = { seed: 1, totalSteps: 1, modelFolder: base, warn: (message: string) => void warnings.push(message) };
    (await prefixStrategy({ adapter }).attach(model, run)).dispose();
    expect(warnings).toEqual([expect.stringContaining('someone/another-model')]);
    model.dispose();
  });

  it('is recognised by its hash after its folder was renamed', async () => {
    const folder = await adapterWith(base, { trainedOn: base });
    const moved = join(root, 'moved', 'elsewhere');
    await mkdir(join(root, 'moved'));
    await cp(base, `${moved}-copy`, { recursive: true });
    await rename(`${moved}-copy`, moved);
    const model = await loadLanguageModel(moved);
    expect(await warningsOf(model, folder)).toEqual([]);
    model.dispose();
  });
});
