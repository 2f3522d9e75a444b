import '@tensorflow/tfjs-backend-cpu';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { provide, Trainer } from '@whetstone/core';
import { EVAL_DATA, LOGGER, MODEL_LOADER, TENSOR_BACKEND, TRAIN_DATA } from '@whetstone/core/contract';
import { createRandomModel, importGguf, loadLanguageModel, saveModelFolder } from '@whetstone/models';
import { beforeAll, expect, it } from 'vitest';
import { merge } from '../../packages/cli/src/commands/merge.js';
import { createTinyModel } from '../../packages/cli/src/tiny-model.js';
import { goldenPath } from '../support/golden.js';
import { modelAsGguf } from '../support/model-as-gguf.js';
import { loadedOf, shuffledSource, tinyLlama } from '../support/training.js';
import { builtIns, recordingLogger } from '../trainer/support.js';
import { allFaults, faultName, sweep, type Scenario } from './sweep.js';

/** `npm run test:faults` goes through every operation and every kind of fault; the normal suite through a sample. */
const isComplete = process.env['WHETSTONE_TEST_FAULTS'] === 'all';

beforeAll(() => tf.setBackend('cpu'));

/** A base model with a tokenizer, whose contents no run reads. */
async function writeBase(root: string): Promise<void> {
  const model = createRandomModel({ ...tinyLlama, num_hidden_layers: 1 }, 1);
  await saveModelFolder(model, join(root, 'base'));
  model.dispose();
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) await writeFile(join(root, 'base', name), '{}\n');
  await mkdir(join(root, 'base', 'additional_chat_templates'));
  await writeFile(join(root, 'base', 'additional_chat_templates', 'tool_use.jinja'), 'tools');
}

async function train(root: string, config: object, attempt: 'first' | 'again'): Promise<void> {
  const { training = {}, output = {}, ...rest } = config as { readonly training?: object; readonly output?: object };
  const trainer = new Trainer(
    {
      model: join(root, 'base'),
      data: { train: 'unused.jsonl', eval: 'unused.jsonl' },
      optimizer: { learningRate: 0.01 },
      callbacks: [],
      loggers: [],
      ...rest,
      training: { ...training, resumeFromCheckpoint: attempt === 'again' },
      output: { folder: join(root, 'run'), ...output },
    },
    {
      plugins: builtIns,
      defaults: { dataSource: 'conversations' },
      services: [
        provide(TENSOR_BACKEND, { backend: 'cpu', engine: 'cpu', reason: 'a test', barrier: () => undefined }),
        provide(MODEL_LOADER, { load: async (folder) => loadedOf(await loadLanguageModel(folder)) }),
        provide(TRAIN_DATA, shuffledSource(8, 2)),
        provide(EVAL_DATA, shuffledSource(2, 2, 9)),
        provide(LOGGER, recordingLogger()),
      ],
    },
  );
  await trainer.run();
}

const training = { maxSteps: 4, saveStrategy: 'steps', saveSteps: 2, evalStrategy: 'steps', evalSteps: 1 };

const scenarios: Readonly<Record<string, Scenario>> = {
  'a run with the best model': {
    prepare: writeBase,
    run: (root, attempt) =>
      train(
        root,
        { strategy: 'full', training: { ...training, saveTotalLimit: 1, loadBestModelAtEnd: true } },
        attempt,
      ),
    results: ['run/model'],
    owned: ['run'],
  },
  'a run with an adapter': {
    prepare: writeBase,
    run: (root, attempt) =>
      train(root, { strategy: { use: 'lora', options: { rank: 2 } }, loggers: ['metrics-jsonl'], training }, attempt),
    results: ['run/adapter'],
    owned: ['run'],
  },
  'a run with stages': {
    prepare: writeBase,
    run: (root, attempt) =>
      train(
        root,
        {
          stages: [
            { name: 'one', strategy: { use: 'lora', options: { rank: 2 } } },
            { name: 'two', strategy: { use: 'lora', options: { rank: 2 } } },
            { name: 'three', strategy: 'full' },
          ],
          training: { ...training, maxSteps: 2 },
        },
        attempt,
      ),
    results: ['run/1-one/adapter', 'run/1-one/hand-over', 'run/2-two/adapter', 'run/2-two/merged', 'run/model'],
    owned: ['run', 'run/1-one', 'run/2-two', 'run/3-three'],
  },
  'an overwritten run': {
    prepare: async (root) => {
      await writeBase(root);
      await train(root, { strategy: 'full', training: { ...training, maxSteps: 2 } }, 'first');
    },
    // The same command again: resuming would continue the old run if nothing of it was removed yet.
    run: (root) =>
      train(root, { strategy: { use: 'lora', options: { rank: 2 } }, training, output: { overwrite: true } }, 'first'),
    results: ['run/adapter'],
    owned: ['run'],
  },
  'a merge': {
    prepare: async (root) => {
      await createTinyModel(join(root, 'base'), { hiddenSize: 32, layers: 1 });
      await train(root, { strategy: { use: 'lora', options: { rank: 2 } }, training: { maxSteps: 1 } }, 'first');
    },
    run: async (root) =>
      merge(join(root, 'base'), join(root, 'run', 'adapter'), join(root, 'out', 'merged'), {
        backend: 'cpu',
        dtype: 'float32',
        tolerance: 1e-3,
        base: 'original',
        json: false,
        plugin: [],
      }),
    results: ['out/merged'],
    owned: ['out'],
    keepsResult: true,
  },
  'an import': {
    prepare: async (root) => writeFile(join(root, 'model.gguf'), await modelAsGguf(goldenPath('models', 'llama'))),
    run: (root) => importGguf(join(root, 'model.gguf'), join(root, 'out', 'model')),
    results: ['out/model'],
    owned: ['out'],
    keepsResult: true,
  },
};

/** The normal suite takes a full disk and a kill, at every so many operations. */
const sampleOf = (name: string): number => (/run/.test(name) ? 131 : 23);

/** The run with stages has the most operations, of the same kinds. */
const names = Object.keys(scenarios).filter((name) => isComplete || name !== 'a run with stages');

/** Returns the scenario of a name. */
function scenarioOf(name: string): Scenario {
  const scenario = scenarios[name];
  if (scenario === undefined) throw new Error(`There is no scenario ${name}.`);
  return scenario;
}

it.skipIf(isComplete).each(names)(
  '%s is complete or fails with a code, wherever a file operation fails',
  { timeout: 240_000 },
  async (name) => {
    const sampled = allFaults.filter(({ kind, lasting }) => kind === 'kill' || (kind === 'ENOSPC' && lasting === true));
    const { problems, runs } = await sweep(scenarioOf(name), sampled, sampleOf(name));
    expect(problems).toEqual([]);
    expect(runs).toBeGreaterThan(3);
  },
);

// One test for each kind of fault: they can run at different times.
it.runIf(isComplete).each(names.flatMap((name) => allFaults.map((fault) => [name, faultName(fault), fault] as const)))(
  '%s is complete or fails with a code, wherever a file operation fails: %s',
  { timeout: 3_600_000 },
  async (name, text, fault) => {
    const { problems, runs } = await sweep(scenarioOf(name), [fault]);
    process.stderr.write(`${name}, ${text}: ${runs} operations\n`);
    expect(problems).toEqual([]);
    expect(runs).toBeGreaterThan(10);
  },
);
