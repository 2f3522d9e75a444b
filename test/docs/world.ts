import { cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRandom } from '@whetstone/core/random';
import { writeSafetensors } from '@whetstone/core/safetensors';
import { architectures } from '@whetstone/models';
import { parameterShapes } from '../../packages/models/src/architectures/parameters.js';
import { readShape } from '../../packages/models/src/architectures/read-shape.js';
import { createTinyModel } from '../../packages/cli/src/tiny-model.js';
import { Trainer } from '../../packages/cli/src/trainer.js';
import { repository } from '../support/execute.js';

/** Examples that are packages of their own. */
const examplePackages = {
  'whetstone-plugin-ln-tuning': 'examples/ln-tuning',
  'whetstone-plugin-lora-fa': 'examples/custom-strategy',
  'whetstone-plugin-loss-watchdog': 'examples/third-party-callback',
};

const conversations = [
  ['Which way is north?', 'Up, on most maps.'],
  ['And south?', 'Down.'],
  ['Is it far?', 'A day by train.'],
  ['Thank you.', 'You are welcome.'],
].map(([content, reply]) =>
  JSON.stringify({
    messages: [
      { role: 'user', content },
      { role: 'assistant', content: reply },
    ],
  }),
);

/**
 * Makes the folder that the examples of the documentation run in: a small model under every name that they use, data,
 * adapters, and the packages of this repository as if they were installed.
 *
 * @param library the folder of libtensorflow, if there is one; without it WebAssembly computes.
 * @returns the environment of the examples: their cache holds a small model by the name of the real one.
 */
export async function createWorld(folder: string, library: string | null): Promise<NodeJS.ProcessEnv> {
  await linkPackages(join(folder, 'node_modules'));
  await symlink(join(repository, 'examples'), join(folder, 'examples'), 'junction');
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
  for (const name of ['train.jsonl', 'tickets.jsonl'])
    await writeFile(join(folder, name), `${conversations.slice(0, 3).join('\n')}\n`);
  await writeFile(join(folder, 'eval.jsonl'), `${conversations.slice(3).join('\n')}\n`);

  const cache = join(folder, 'cache');
  await mkdir(join(cache, 'models'), { recursive: true });
  for (const model of ['my-model', 'cache/models/smollm2-135m'])
    await createTinyModel(join(folder, model), { hiddenSize: 32, layers: 1 });
  await createAcmeModel(join(folder, 'my-model'), join(folder, 'models/acme-1b'));
  for (const adapter of ['polite', 'terse']) await trainAdapter(folder, adapter);
  await writeFile(
    join(folder, 'run.json'),
    JSON.stringify({
      model: 'my-model',
      backend: 'cpu',
      data: { train: 'train.jsonl', eval: 'eval.jsonl' },
      strategy: 'lora',
      training: { maxSteps: 2 },
      output: { folder: 'runs/my-run', overwrite: true },
    }),
  );
  return {
    ...process.env,
    WHETSTONE_CACHE: cache,
    ...(library === null ? {} : { WHETSTONE_TENSORFLOW_LIBRARY: library }),
  };
}

/** Installed packages, those of this repository and its examples among them, as links. */
async function linkPackages(folder: string): Promise<void> {
  await mkdir(folder);
  const installed = join(repository, 'node_modules');
  for (const name of await readdir(installed))
    if (!name.startsWith('.')) await symlink(join(installed, name), join(folder, name), 'junction');
  for (const [name, path] of Object.entries(examplePackages))
    await symlink(join(repository, path), join(folder, name), 'junction');
}

/** The model of docs/add-an-architecture.md: Llama with biases of query, key and value, and norms of heads. */
async function createAcmeModel(tiny: string, folder: string): Promise<void> {
  await cp(tiny, folder, { recursive: true });
  const llama = architectures.get('llama');
  if (llama === undefined) throw new Error('llama is built in');
  const config = {
    ...(JSON.parse(await readFile(join(tiny, 'config.json'), 'utf8')) as Parameters<typeof readShape>[0]),
    model_type: 'acme',
  };
  const spec = { ...llama, modelType: 'acme', queryKeyNorm: true, biases: { ...llama.biases, queryKeyValue: true } };
  const random = createRandom(3);
  await writeSafetensors(
    join(folder, 'model.safetensors'),
    parameterShapes(readShape(config, 'config.json', new Map([['acme', spec]]))).map(({ name, shape }) => ({
      name,
      dtype: 'F32',
      shape,
      data: () => Float32Array.from({ length: shape.reduce((size, one) => size * one, 1) }, () => random.uniform()),
    })),
  );
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
}

async function trainAdapter(folder: string, name: string): Promise<void> {
  await new Trainer(
    {
      model: 'my-model',
      backend: 'cpu',
      data: { train: 'train.jsonl' },
      strategy: { use: 'lora', options: { rank: 2, targetModules: 'all-linear' } },
      loggers: [],
      training: { maxSteps: 1, saveStrategy: 'no' },
      output: { folder: `runs/${name}` },
    },
    { baseFolder: folder },
  ).run();
}
