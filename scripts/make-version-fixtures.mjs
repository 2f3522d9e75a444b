// Writes what this version of Whetstone leaves behind into test/versions/<version>: a model, a run with a checkpoint
// and an adapter, a run with stages that was interrupted in its second one, a Fisher file and a replay buffer.
// test/versions/versions.test.ts reads the folders of all versions. Run `npm run build` first; run this when the
// format of any of these files has changed, and commit what it writes. Folders of earlier versions stay as they are.
// In these files the folder of the runs is `/fixture`, wherever they were made.
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createTinyModel, Trainer } from 'whetstone';
import { replaceFolder } from './replace-folder.mjs';

const repository = fileURLToPath(new URL('..', import.meta.url));
const { version } = JSON.parse(await readFile(join(repository, 'packages/cli/package.json'), 'utf8'));
const folder = join(tmpdir(), `whetstone-${version}`);
const target = join(repository, 'test/versions', version);

const conversations = [
  ['Which way is north?', 'Up, on most maps.'],
  ['And south?', 'Down.'],
  ['Is it far?', 'A day by train.'],
  ['By bus?', 'Two days.'],
  ['Is it cold there?', 'In winter.'],
  ['Thank you.', 'You are welcome.'],
  ['Is there a hotel?', 'Two of them.'],
  ['Are they open?', 'All year.'],
  ['What is there to see?', 'A lake and a tower.'],
  ['May one swim?', 'From May on.'],
];
const rows = (from, to) =>
  conversations
    .slice(from, to)
    .map(([content, reply]) =>
      JSON.stringify({
        messages: [
          { role: 'user', content },
          { role: 'assistant', content: reply },
        ],
      }),
    )
    .join('\n') + '\n';

const lora = { use: 'lora', options: { rank: 2, alpha: 4, targetModules: ['q_proj', 'v_proj'], dropout: 0.1 } };
const common = {
  model: 'model',
  backend: 'cpu',
  strategy: lora,
  loggers: ['metrics-jsonl'],
  optimizer: { learningRate: 0.02 },
  schedule: { use: 'cosine', warmupSteps: 1 },
};
const run = {
  ...common,
  data: { train: 'train.jsonl', eval: 'eval.jsonl', maxLength: 96 },
  companions: [
    { use: 'ewc', options: { data: 'old.jsonl', samples: 2, fisherFile: 'memory/fisher.safetensors' } },
    { use: 'replay', options: { data: 'old.jsonl', ratio: 0.3, bufferFile: 'memory/replay.jsonl' } },
  ],
  callbacks: [
    { use: 'gradient-clipping', options: { maxNorm: 1 } },
    { use: 'early-stopping', options: { patience: 5 } },
  ],
  training: { numTrainEpochs: 2, perDeviceTrainBatchSize: 2, evalStrategy: 'epoch', saveStrategy: 'epoch' },
  output: { folder: 'run' },
};
const staged = {
  ...common,
  // The first stage has one step, which would be the warmup's: its learning rate is 0.
  schedule: { use: 'cosine' },
  data: { train: 'train.jsonl', maxLength: 96 },
  training: { numTrainEpochs: 1, perDeviceTrainBatchSize: 2, saveStrategy: 'no' },
  stages: [
    { name: 'first', data: { train: 'old.jsonl' } },
    { name: 'second', data: { train: 'train.jsonl' } },
  ],
  output: { folder: 'staged' },
};
const json = (name, value) => writeFile(join(folder, name), `${JSON.stringify(value, null, 2)}\n`);

await rm(folder, { recursive: true, force: true });
await mkdir(join(folder, 'memory'), { recursive: true });
await createTinyModel(join(folder, 'model'), { hiddenSize: 16, layers: 1, seed: 1 });
await writeFile(join(folder, 'train.jsonl'), rows(0, 6));
await writeFile(join(folder, 'eval.jsonl'), rows(6, 8));
await writeFile(join(folder, 'old.jsonl'), rows(8, 10));
await json('run.json', run);
await json('staged.json', staged);

await new Trainer(join(folder, 'run.json')).run();
await rm(join(folder, 'run/checkpoint-6'), { recursive: true });

// Once to its end, for the losses of what a resumed run has to do, and once until the first step of the second stage.
const losses = [];
for await (const report of new Trainer(join(folder, 'staged.json'), { overrides: ['output.folder="staged-whole"'] }))
  losses.push({ stage: report.stage, step: report.step, loss: report.loss });
await json('staged-losses.json', losses);
await rm(join(folder, 'staged-whole'), { recursive: true });
const interruption = new AbortController();
const trainer = new Trainer(join(folder, 'staged.json'));
trainer.on('step', ({ stage }) => stage === 'second' && interruption.abort());
await trainer.run({ signal: interruption.signal }).catch((error) => {
  if (error.code !== 'INTERRUPTED') throw error;
});

replaceFolder(folder, folder, '/fixture');
await rm(target, { recursive: true, force: true });
await cp(folder, target, { recursive: true });
await rm(folder, { recursive: true });
