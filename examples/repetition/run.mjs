// Fine-tunes a model twice, without and with `repetition-penalty`, and counts how much its greedy replies repeat themselves.
// `node examples/repetition/run.mjs`, after `npm run build`.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { fetchModel, findModelFolder, LOADED_MODEL, openModel, provide, Trainer } from 'whetstone';
import { createTerminal } from 'whetstone/terminal';
import { measure } from './measure.mjs';

const text = (value) => ({ type: 'string', default: value });
const { values } = parseArgs({
  options: {
    model: text('smollm2-135m'), backend: text('auto'), data: text(fileURLToPath(new URL('../data', import.meta.url))),
    steps: text('24'), batch: text('8'), rate: text('5e-4'), unlikelihood: text('1'), ngram: text('1'), diversity: text('0.5'),
    tokens: text('80'), 'eval-samples': text('96'), only: { type: 'string' }, json: { type: 'boolean', default: false },
  },
});
const number = (name) => Number(values[name]);
const terminal = createTerminal(values.json);

/** Questions that a small model answers at length, and then again. */
const prompts = [
  'Tell me everything you know about the sea.', 'Write a long poem about rain.', 'List one hundred animals.', 'Explain in great detail how to make tea.',
  'Tell me a very long story about a king.', 'Why is the sky blue? Answer at length.', 'List all the reasons to learn to read.', 'Describe a forest as thoroughly as you can.',
  'Write a song with many verses.', 'What are the qualities of a good friend? Name as many as you can.', 'Talk about music until you run out of words.', 'List the steps of building a house.',
];

const scratch = await mkdtemp(join(tmpdir(), 'whetstone-repetition-'));
const started = performance.now();
try {
  const modelFolder = await findModelFolder(values.model).catch(() => fetchModel(values.model, {}));
  const asked = { prompts, maxNewTokens: number('tokens'), evalFile: join(values.data, 'chatterbot-en.eval.jsonl'), evalSamples: number('eval-samples') };
  const penalty = { use: 'repetition-penalty', options: { unlikelihood: number('unlikelihood'), ngram: number('ngram'), diversity: number('diversity') } };
  const variants = { 'as it came': null, 'fine-tuned': [], 'fine-tuned with repetition-penalty': [penalty] };
  const rows = [];
  for (const [name, callbacks] of Object.entries(variants).filter(([each]) => values.only === undefined || values.only.split(',').includes(each))) {
    const opened = await openModel(modelFolder, { backend: values.backend });
    try {
      let result = null;
      const look = async () => void (result = await measure(opened, asked));
      if (callbacks === null) await look();
      else {
        const config = {
          model: modelFolder,
          backend: values.backend,
          data: { train: join(values.data, 'chatterbot-en.train.jsonl'), transforms: [{ use: 'deduplicate' }], maxLength: 128, truncationMode: 'keep_end', trainSamplingStrategy: 'group_by_length' },
          strategy: { use: 'lora', options: { rank: 16, alpha: 32 } },
          callbacks: [{ use: 'gradient-clipping' }, ...callbacks],
          loggers: [],
          optimizer: { learningRate: number('rate') },
          schedule: { use: 'cosine', warmupSteps: 2 },
          training: { maxSteps: number('steps'), perDeviceTrainBatchSize: number('batch'), evalStrategy: 'no', saveStrategy: 'no' },
          output: { folder: join(scratch, 'run'), overwrite: true },
        };
        await new Trainer(config, { services: [provide(LOADED_MODEL, opened)], callbacks: [{ onRunEnd: look }] }).run();
      }
      rows.push({ name, ...result });
      terminal.line(`${name}: ${(100 * result.rate).toFixed(1)} % of 4-grams repeated, ${result.loops} of ${prompts.length} replies loop, eval loss ${result.loss.toFixed(4)}; ${((performance.now() - started) / 1000).toFixed(0)} s so far.`);
    } finally {
      opened.dispose();
    }
  }
  const plain = rows.find(({ name }) => name === 'fine-tuned');
  terminal.line('\n| model | repeated 4-grams | replies that loop | eval loss | beside fine-tuned |');
  terminal.line('| --- | ---: | ---: | ---: | ---: |');
  for (const { name, rate, loops, loss } of rows) {
    terminal.line(`| ${name} | ${(100 * rate).toFixed(1)} % | ${loops} of ${prompts.length} | ${loss.toFixed(4)} | ${plain === undefined ? '' : `${(100 * (loss / plain.loss - 1)).toFixed(2)} %`} |`);
  }
  terminal.result({ rows, seconds: (performance.now() - started) / 1000 });
} finally {
  await rm(scratch, { recursive: true, force: true });
}
