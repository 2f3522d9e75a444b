import fs from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { folderCheckpoints, listCheckpoints } from '@whetstone/core/checkpoint';
import { temporaryName } from '@whetstone/core/files';
import { loadLanguageModel, saveModelFolder } from '@whetstone/models';
import { readAdapterFolder } from '@whetstone/strategies';
import { beforeAll, describe, expect, it } from 'vitest';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { useBackend } from '../support/backend.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { disposeRun, testRun, tinyModel, train, valuesOf, type TestRunOptions } from '../support/training.js';

beforeAll(async () => void (await useBackend('cpu')));

/** Flips the last bit of a file. */
async function flipBit(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  const { size } = await handle.stat();
  const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, size - 1);
  await handle.write(Buffer.from([(buffer[0] ?? 0) ^ 1]), 0, 1, size - 1);
  await handle.close();
}

/** A run of three steps with checkpoints, whose best weights are those of the first. `afterSecond` runs once. */
const withBestFirst = (
  outputFolder: string,
  afterSecond: () => Promise<void>,
  options: TestRunOptions = {},
): TestRunOptions => ({
  outputFolder,
  callbacks: [
    {
      onStep: async ({ step }, control) => {
        if (step === 1) control.markBest();
        if (step === 2) await afterSecond();
      },
    },
  ],
  ...options,
  training: { maxSteps: 3, saveStrategy: 'steps', saveSteps: 1, ...options.training },
});

describe('the best weights of a run', () => {
  const strategies = { model: () => fullStrategy(), adapter: () => loraStrategy({ rank: 2 }) };

  it.each([
    ['model', 'model.safetensors'],
    ['adapter', 'adapter_model.safetensors'],
  ] as const)('are not exported if a bit was flipped: %s', async (result, name) => {
    const outputFolder = await temporaryFolder();
    const file = join(outputFolder, 'checkpoint-1', name);
    const strategy = strategies[result]();
    const run = testRun(withBestFirst(outputFolder, () => flipBit(file), { strategy }));
    await expect(train(run)).rejects.toMatchObject({
      code: 'CHECKPOINT_INVALID',
      problems: [{ message: 'The contents of the file have changed.', place: { file } }],
    });
    expect(await readdir(outputFolder)).not.toContain(result);
    disposeRun(run);
  });

  it('are an error if a file with them is missing, and the last ones are used if the checkpoint is', async () => {
    const outputFolder = await temporaryFolder();
    const folder = join(outputFolder, 'checkpoint-1');
    const run = testRun(withBestFirst(outputFolder, () => rm(join(folder, 'model.safetensors'))));
    await expect(train(run)).rejects.toMatchObject({
      code: 'CHECKPOINT_INVALID',
      hint: expect.stringContaining(folder) as string,
    });
    disposeRun(run);
    await rm(folder, { recursive: true });
    const warnings: string[] = [];
    const second = testRun(
      withBestFirst(outputFolder, async () => undefined, {
        training: { resumeFromCheckpoint: true },
        warn: (text) => warnings.push(text),
      }),
    );
    await train(second);
    expect(warnings.join()).toContain('The checkpoint with the best weights was removed');
    expect(await readdir(outputFolder)).toContain('model');
    disposeRun(second);
  });
});

describe('a result', () => {
  it('is refused by its readers if a bit was flipped', async () => {
    const outputFolder = await temporaryFolder();
    const run = testRun({ outputFolder, strategy: loraStrategy({ rank: 2 }), training: { maxSteps: 1 } });
    await train(run);
    disposeRun(run);
    const adapter = join(outputFolder, 'adapter');
    (await readAdapterFolder(adapter)).dispose();
    await flipBit(join(adapter, 'adapter_model.safetensors'));
    await expect(readAdapterFolder(adapter)).rejects.toMatchObject({ code: 'FILE_CHANGED', place: { file: adapter } });
  });

  it('lists every file that it has', async () => {
    const outputFolder = await temporaryFolder();
    const run = testRun({ outputFolder, training: { maxSteps: 1 } });
    await train(run);
    disposeRun(run);
    const folder = join(outputFolder, 'model');
    const { files } = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')) as { readonly files: object };
    expect([...Object.keys(files), 'manifest.json'].toSorted()).toEqual((await readdir(folder)).toSorted());
  });
});

describe('a run that cannot read a file of its base model', () => {
  it('fails before its first step instead of writing a result without it', async () => {
    const root = await temporaryFolder();
    const base = tinyModel();
    await saveModelFolder(base, join(root, 'base'));
    base.dispose();
    // A folder can be opened like a file that cannot be read.
    await mkdir(join(root, 'base', 'tokenizer.json'));
    const model = await loadLanguageModel(join(root, 'base'));
    const run = testRun({ model, outputFolder: join(root, 'run'), training: { maxSteps: 1 } });
    await expect(train(run)).rejects.toMatchObject({
      code: 'FILE_UNREADABLE',
      place: { file: join(root, 'base', 'tokenizer.json') },
    });
    expect(await readdir(root)).toEqual(['base']);
    disposeRun(run);
  });
});

describe('a checkpoint that was being replaced when the process was killed', () => {
  it('is still found, and restored by the next run', async () => {
    const outputFolder = await temporaryFolder();
    const options = { outputFolder, training: { maxSteps: 2, saveStrategy: 'steps', saveSteps: 2 } } as const;
    const first = testRun(options);
    await train(first);
    const trained = await valuesOf(first.loaded.model);
    disposeRun(first);
    const folder = join(outputFolder, 'checkpoint-2');
    const aside = temporaryName(folder, 'replaced');
    await rename(folder, aside);
    expect(await listCheckpoints(outputFolder)).toEqual([{ step: 2, folder: aside }]);
    expect(await folderCheckpoints.find(folder, null, () => undefined)).toBe(aside);
    const second = testRun({ ...options, training: { ...options.training, resumeFromCheckpoint: true } });
    await train(second);
    expect(await valuesOf(second.loaded.model)).toEqual(trained);
    expect(await listCheckpoints(outputFolder)).toEqual([{ step: 2, folder }]);
    disposeRun(second);
  });
});

it('a damaged list of checkpoints to move is an error', async () => {
  const outputFolder = await temporaryFolder();
  await writeFile(join(outputFolder, '.abandoned.json'), '{"target": "../elsewhere", "names": ["checkpoint-2"]}');
  const run = testRun({ outputFolder, training: { maxSteps: 1 } });
  await expect(train(run)).rejects.toMatchObject({ code: 'CHECKPOINT_INVALID' });
  disposeRun(run);
  expect(tf.getBackend()).toBe('cpu');
});

describe('the space for checkpoints', () => {
  /** Trains on a disk on which `free` bytes are free. Returns the warnings about it. */
  async function warningsWith(free: number, options: TestRunOptions): Promise<readonly string[]> {
    const { statfs } = fs.promises;
    const warnings: string[] = [];
    const run = testRun({ ...options, outputFolder: await temporaryFolder(), warn: (text) => warnings.push(text) });
    Object.assign(fs.promises, { statfs: async () => ({ bavail: free, bsize: 1 }) });
    syncBuiltinESMExports();
    try {
      await train(run);
    } finally {
      Object.assign(fs.promises, { statfs });
      syncBuiltinESMExports();
      disposeRun(run);
    }
    return warnings.filter((text) => text.includes('checkpoints will need'));
  }

  // 48 · 16 for the embedding and as many for the head; per layer 16·16 + 2·8·16 + 16·16 in the attention, 3·16·24 in
  // the MLP and 2·16 in the norms; 16 in the last norm.
  const parameters = 2 * 48 * 16 + 2 * (16 * 16 + 2 * 8 * 16 + 16 * 16 + 3 * 16 * 24 + 2 * 16) + 16;
  // Weights and the two moments of AdamW, 4 bytes each.
  const checkpoint = parameters * 3 * 4;
  const training = { maxSteps: 4, saveStrategy: 'steps', saveSteps: 1 } as const;

  it('is compared with what is free, and both are named', async () => {
    const [warning] = await warningsWith(3 * checkpoint, { training });
    expect(warning).toContain(
      `about ${Math.round((4 * checkpoint) / 1e3)} kB (4 of ${Math.round(checkpoint / 1e3)} kB)`,
    );
    expect(warning).toContain(`${Math.round((3 * checkpoint) / 1e3)} kB are free`);
    expect(await warningsWith(4 * checkpoint, { training })).toEqual([]);
  });

  it('is that of the kept checkpoints and of the one that is written, if there is a limit', async () => {
    const limited = { training: { ...training, saveTotalLimit: 2 } };
    expect(await warningsWith(3 * checkpoint, limited)).toEqual([]);
    expect(await warningsWith(3 * checkpoint - 1, limited)).toHaveLength(1);
  });

  it('is that of the trained parameters for an adapter', async () => {
    // Rank 2 on q, k, v, o, gate, up and down of two layers: rank · (inputs + outputs).
    const sizes = [32, 24, 24, 32, 40, 40, 40];
    const adapter = 2 * 2 * sizes.reduce((sum, size) => sum + size, 0) * 3 * 4;
    const options = (): TestRunOptions => ({
      strategy: loraStrategy({ rank: 2, targetModules: 'all-linear' }),
      training,
    });
    expect(await warningsWith(4 * adapter, options())).toEqual([]);
    expect(await warningsWith(4 * adapter - 1, options())).toHaveLength(1);
  });
});
