import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createTinyModel } from 'whetstone';
import { provide, MODEL_LOADER, TRAIN_DATA } from '@whetstone/core';
import type { Callback, ModelOutline } from '@whetstone/core/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../support/backend.js';
import { execute, repository } from '../support/execute.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { shuffledSource } from '../support/training.js';
import { tinyTrainer } from './support.js';

beforeAll(async () => void (await useBackend('cpu')));

/** Allocates more than any machine has. */
const allocate = (): never => {
  throw new Error(`${new Float32Array(2 ** 50).length} numbers were allocated.`);
};

describe('a failed allocation', () => {
  it.each<[string, Callback, RegExp]>([
    [
      'a step',
      { transformBatch: allocate },
      /^Step 1 \(2 × \d+ tokens\) failed for lack of memory: Hook transformBatch /,
    ],
    ['an evaluation', { onStep: (_, control) => control.evaluate(), onEvaluate: allocate }, /^Hook onEvaluate of /],
  ])('in %s ends in an error that names it and what needs less memory', async (_, callback, message) => {
    const trainer = tinyTrainer({ training: { maxSteps: 2, perDeviceTrainBatchSize: 2 } }, { callbacks: [callback] });
    await expect(trainer.run()).rejects.toMatchObject({
      code: 'OUT_OF_MEMORY',
      message: expect.stringMatching(message) as string,
      hint: expect.stringMatching(
        /^In the order of their effect: .*training\.perDeviceTrainBatchSize 1 with .*\.gradientAccumulationSteps 2/,
      ) as string,
    });
  });

  it('while the model is loaded names the options of the configuration', async () => {
    const services = [
      provide(MODEL_LOADER, { load: async () => allocate() }),
      provide(TRAIN_DATA, shuffledSource(4, 2)),
    ];
    await expect(tinyTrainer({ strategy: 'lora' }, { services }).run()).rejects.toMatchObject({
      code: 'OUT_OF_MEMORY',
      message: expect.stringMatching(
        /^Loading the model failed for lack of memory: (Invalid typed array length|Array buffer allocation failed)/,
      ) as string,
      hint: expect.stringContaining('strategy "qlora"') as string,
    });
  });
});

it('a model whose weights exceed the memory is refused before they are read', async () => {
  const outline: ModelOutline = {
    architecture: 'llama',
    vocabularySize: 8,
    hiddenSize: 8,
    layers: 1,
    parameters: new Map([['model.embed_tokens.weight', { shape: [2 ** 30, 2 ** 20] }]]),
    linearSites: new Map(),
    attentionSites: [],
    embeddingSite: { name: 'model.embed_tokens' },
  };
  const loader = { outline: async () => outline, load: async () => Promise.reject(new Error('The model was loaded.')) };
  await expect(tinyTrainer({}, { services: [provide(MODEL_LOADER, loader)] }).run()).rejects.toMatchObject({
    code: 'OUT_OF_MEMORY',
    // 2⁵⁰ numbers of 4 bytes.
    message: expect.stringMatching(
      /^The weights of the model alone need 4503599\.6 GB, which exceeds the limit of /,
    ) as string,
    details: { bytes: 2 ** 52 },
    place: { path: 'model' },
  });
});

// The process runs the build, as `npm test` makes it.
describe.skipIf(process.platform !== 'linux')('a run with little address space', () => {
  it('warns before it trains, and ends in an error with the same options', { timeout: 60_000 }, async () => {
    const root = await temporaryFolder();
    await createTinyModel(join(root, 'model'), { hiddenSize: 64, layers: 2 });
    const row = {
      messages: [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: 'Hello. '.repeat(200) },
      ],
    };
    await writeFile(join(root, 'data.jsonl'), `${JSON.stringify(row)}\n`.repeat(64));
    await writeFile(
      join(root, 'callback.mjs'),
      `export default { apiVersion: 2, kind: 'callback', name: 'test', description: 'A test.',
        configSchema: { type: 'object', properties: {}, additionalProperties: false },
        create: () => ({ onStepStart: () => new Float32Array(2 ** 29) }) };`,
    );
    await writeFile(
      join(root, 'run.json'),
      JSON.stringify({
        model: './model',
        backend: 'cpu',
        data: { train: './data.jsonl' },
        strategy: 'full',
        callbacks: ['./callback.mjs'],
        loggers: [],
        training: { maxSteps: 1, perDeviceTrainBatchSize: 64, saveStrategy: 'no' },
      }),
    );
    const command = join(repository, 'packages/cli/dist/main.js');
    const { code, stderr } = await execute(
      'bash',
      ['-c', 'ulimit -v 2500000; exec "$@"', 'bash', process.execPath, command, 'train', 'run.json'],
      root,
    );
    const options = 'In the order of their effect: training\\.perDeviceTrainBatchSize 1 with ';
    expect(stderr).toMatch(
      new RegExp(
        'warning: The run will need about \\d+\\.\\d GB of memory \\(.*' +
          'a step of [\\d,]+ tokens in rows of 10\\d\\d .*\\)\\. ' +
          `It can use 2\\.6 GB of the limit of this process \\(ulimit -v\\), 2\\.6 GB\\. ${options}`,
      ),
    );
    expect(stderr).toMatch(
      /\[OUT_OF_MEMORY\] Hook onStepStart of 'test' failed at step 1: Array buffer allocation failed/,
    );
    expect(stderr).toMatch(new RegExp(`hint: +${options}`));
    expect(code).toBe(1);
  });
});
