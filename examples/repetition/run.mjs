// Fine-tunes a model twice, without and with `repetition-penalty`, and measures the repetition of its greedy replies.
// `node examples/repetition/run.mjs`, after `npm run build`.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { fetchModel, findModelFolder, LOADED_MODEL, openModel, provide, Trainer } from 'whetstone';
import { createTerminal } from 'whetstone/terminal';
import { measure } from './measure.mjs';
import { promptSets } from './prompts.mjs';

const text = (value) => ({ type: 'string', default: value });
const { values } = parseArgs({
  options: {
    model: text('smollm2-135m'),
    backend: text('auto'),
    data: text(fileURLToPath(new URL('../data', import.meta.url))),
    steps: text('24'),
    batch: text('8'),
    rate: text('5e-4'),
    seeds: text('42'),
    // The weights of the penalty: on tokens that the data's replies have used, on their diversity, and on repetitions
    // in
    // generated replies.
    unlikelihood: text('1'),
    ngram: text('1'),
    diversity: text('0.5'),
    own: text('0.3'),
    'own-ngram': text('4'),
    'own-tokens': text('64'),
    pool: text('12'),
    every: text('6'),
    each: text('3'),
    // Measured are the loss, and the replies to a set of prompts (`tune` for choosing settings, `test` for the report).
    set: text('test'),
    tokens: text('128'),
    'eval-samples': text('96'),
    only: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const number = (name) => Number(values[name]);
const terminal = createTerminal(values.json);
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;
const started = performance.now();
const secondsSince = (begin) => (performance.now() - begin) / 1000;

const generated = {
  weight: number('own'),
  ngram: number('own-ngram'),
  maxNewTokens: number('own-tokens'),
  pool: number('pool'),
  everySteps: number('every'),
  perMicrobatch: number('each'),
  prompts: promptSets.train,
};
const penalty = {
  use: 'repetition-penalty',
  options: {
    unlikelihood: number('unlikelihood'),
    ngram: number('ngram'),
    diversity: number('diversity'),
    ...(number('own') > 0 ? { generated } : {}),
  },
};
const variants = { original: null, 'fine-tuned': [], 'with repetition-penalty': [penalty] };
const prompts = promptSets[values.set];

/** Trains a variant if it has steps, and measures it while its adapter is attached. */
async function outcomeOf(modelFolder, callbacks, seed, output) {
  const opened = await openModel(modelFolder, { backend: values.backend });
  const asked = {
    prompts,
    maxNewTokens: number('tokens'),
    evalFile: join(values.data, 'chatterbot-en.eval.jsonl'),
    evalSamples: number('eval-samples'),
  };
  try {
    if (callbacks === null) return await measure(opened, asked);
    let result = null;
    const config = {
      model: modelFolder,
      backend: values.backend,
      data: {
        train: join(values.data, 'chatterbot-en.train.jsonl'),
        transforms: [{ use: 'deduplicate' }],
        maxLength: 128,
        truncationMode: 'keep_end',
        trainSamplingStrategy: 'group_by_length',
      },
      strategy: { use: 'lora', options: { rank: 16, alpha: 32 } },
      callbacks: [{ use: 'gradient-clipping' }, ...callbacks],
      loggers: [],
      optimizer: { learningRate: number('rate') },
      schedule: { use: 'cosine', warmupSteps: 2 },
      training: {
        maxSteps: number('steps'),
        seed,
        perDeviceTrainBatchSize: number('batch'),
        evalStrategy: 'no',
        saveStrategy: 'no',
      },
      output: { folder: output, overwrite: true },
    };
    const look = async ({ seconds }) => void (result = { ...(await measure(opened, asked)), trainSeconds: seconds });
    await new Trainer(config, { services: [provide(LOADED_MODEL, opened)], callbacks: [{ onRunEnd: look }] }).run();
    return result;
  } finally {
    opened.dispose();
  }
}

const scratch = await mkdtemp(join(tmpdir(), 'whetstone-repetition-'));
try {
  const modelFolder = await findModelFolder(values.model).catch(() => fetchModel(values.model, {}));
  const rows = [];
  for (const name of values.only?.split(',') ?? Object.keys(variants)) {
    for (const seed of variants[name] === null ? [null] : values.seeds.split(',').map(Number)) {
      const begun = performance.now();
      const result = await outcomeOf(modelFolder, variants[name], seed, join(scratch, 'run'));
      rows.push({ name, seed, ...result, seconds: secondsSince(begun) });
      terminal.line(
        `${name}${seed === null ? '' : `, seed ${seed}`}: ${percent(result.rate)} of 4-grams repeated, ` +
          `${result.loops} of ${prompts.length} replies loop, eval loss ${result.loss.toFixed(4)}; ` +
          `${secondsSince(begun).toFixed(0)} s.`,
      );
    }
  }
  terminal.line(
    '\n| model | seed | repeated 4-grams | replies that loop | tokens per reply | eval loss | relative to fine-tuned |',
  );
  terminal.line('| --- | ---: | ---: | ---: | ---: | ---: | ---: |');
  for (const { name, seed, rate, loops, tokens, loss } of rows) {
    const plain =
      name === 'with repetition-penalty'
        ? rows.find((row) => row.name === 'fine-tuned' && row.seed === seed)
        : undefined;
    terminal.line(
      `| ${name} | ${seed ?? ''} | ${percent(rate)} | ${loops} of ${prompts.length} | ${tokens.toFixed(0)} | ` +
        `${loss.toFixed(4)} | ${plain === undefined ? '' : percent(loss / plain.loss - 1, 2)} |`,
    );
  }
  terminal.line(`\n${secondsSince(started).toFixed(0)} s in all.`);
  terminal.result({ rows, seconds: secondsSince(started) });
} finally {
  await rm(scratch, { recursive: true, force: true });
}
