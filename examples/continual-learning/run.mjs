// Trains task A, then task B in several ways, and prints how much of A each one forgets. `node
// examples/continual-learning/run.mjs`, after `npm run build`. The options are below.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createBatchSource, createConversationSource } from '@whetstone/data';
import { evaluate, fetchModel, findModelFolder, LOADED_MODEL, openModel, provide, Trainer } from 'whetstone';
import { createTerminal } from 'whetstone/terminal';
import { writeTasks } from './tasks.mjs';

const text = (value) => ({ type: 'string', default: value });
const { values } = parseArgs({
  options: {
    model: text('smollm2-135m'),
    backend: text('auto'),
    data: text(fileURLToPath(new URL('../data', import.meta.url))),
    'steps-a': text('16'),
    steps: text('20'),
    batch: text('8'),
    'rate-a': text('1e-4'),
    rate: text('3e-5'),
    'lora-rate': text('1e-3'),
    ratio: text('0.1'),
    lambda: text('2e5'),
    'fisher-samples': text('128'),
    'eval-samples': text('48'),
    only: { type: 'string' },
    'model-a': { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const number = (name) => Number(values[name]);
const terminal = createTerminal(values.json);
const started = performance.now();
const secondsSince = (begin) => (performance.now() - begin) / 1000;
const signed = (value) => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(3)}`;

/** Mean loss on both tasks' held-out samples, in nats per token. */
async function measure({ model, tokenizer, renderer, backend }, files) {
  const lossOn = async (path) => {
    const data = await createBatchSource({
      source: await createConversationSource({ path }, values.data),
      tokenizer,
      renderer,
      options: {
        purpose: 'eval',
        batchSize: 16,
        maxLength: 128,
        truncationMode: 'keep_end',
        samplingStrategy: 'group_by_length',
      },
    });
    return (await evaluate({ model, data, backend }, { step: 0, epoch: 0 })).loss;
  };
  return { a: await lossOn(files.eval.a), b: await lossOn(files.eval.b) };
}

/** Trains on one task and measures both while the strategy is still attached. */
async function train(modelFolder, { data, steps, rate, strategy, companions = [], files, output }) {
  const opened = await openModel(modelFolder, { backend: values.backend });
  let after = { a: NaN, b: NaN };
  const config = {
    backend: values.backend,
    model: modelFolder,
    data: { train: data, maxLength: 128, truncationMode: 'keep_end', trainSamplingStrategy: 'group_by_length' },
    strategy,
    companions,
    callbacks: [{ use: 'gradient-clipping' }],
    loggers: [],
    optimizer: { learningRate: rate },
    schedule: { use: 'cosine', warmupSteps: 2 },
    training: { maxSteps: steps, perDeviceTrainBatchSize: number('batch'), evalStrategy: 'no', saveStrategy: 'no' },
    output: { folder: output, overwrite: true },
  };
  try {
    const whenDone = { onRunEnd: async () => void (after = await measure(opened, files)) };
    const trainer = new Trainer(config, { services: [provide(LOADED_MODEL, opened)], callbacks: [whenDone] });
    const report = await trainer.run();
    return { after, seconds: report.seconds };
  } finally {
    opened.dispose();
  }
}

/** The strategies and companions for task B, by their names in the table. */
function variantsOf(files, fisherFile) {
  const old = files.train.a;
  const replay = { use: 'replay', options: { data: old, ratio: number('ratio') } };
  const ewc = {
    use: 'ewc',
    options: { data: old, samples: number('fisher-samples'), batchSize: 4, lambda: number('lambda'), fisherFile },
  };
  // Penalises changes of the effective weights, so that the same Fisher information can be used.
  const effective = { use: 'ewc', options: { ...ewc.options, on: 'effective-weights' } };
  const full = { strategy: 'full', rate: number('rate') };
  const lora = { strategy: { use: 'lora', options: { rank: 8, alpha: 16 } }, rate: number('lora-rate') };
  return {
    none: full,
    replay: { ...full, companions: [replay] },
    EWC: { ...full, companions: [ewc] },
    'EWC + replay': { ...full, companions: [ewc, replay] },
    LoRA: lora,
    'LoRA + replay': { ...lora, companions: [replay] },
    'LoRA + EWC': { ...lora, companions: [effective] },
    'LoRA + EWC + replay': { ...lora, companions: [effective, replay] },
  };
}

const scratch = await mkdtemp(join(tmpdir(), 'whetstone-continual-'));
try {
  const base = await findModelFolder(values.model).catch(() => fetchModel(values.model, {}));
  const files = await writeTasks(values.data, scratch, number('eval-samples'));
  let modelFolder = values['model-a'];
  if (modelFolder === undefined) {
    const output = join(scratch, 'a');
    await train(base, {
      data: files.train.a,
      steps: number('steps-a'),
      rate: number('rate-a'),
      strategy: 'full',
      files,
      output,
    });
    modelFolder = join(output, 'model');
  }
  const opened = await openModel(modelFolder, { backend: values.backend });
  const before = await measure(opened, files);
  opened.dispose();
  terminal.line(
    `After task A: loss ${before.a.toFixed(3)} on A, ${before.b.toFixed(3)} on B; ` +
      `${secondsSince(started).toFixed(0)} s so far.`,
  );

  const variants = variantsOf(files, join(scratch, 'fisher.safetensors'));
  const rows = [];
  for (const name of values.only?.split(',') ?? Object.keys(variants)) {
    const begun = performance.now();
    const { after, seconds } = await train(modelFolder, {
      data: files.train.b,
      steps: number('steps'),
      files,
      output: join(scratch, 'b'),
      ...variants[name],
    });
    rows.push({ name, after, trainSeconds: seconds, seconds: secondsSince(begun) });
    terminal.line(
      `${name}: loss ${after.a.toFixed(3)} on A, ${after.b.toFixed(3)} on B; ${secondsSince(begun).toFixed(0)} s.`,
    );
  }

  terminal.line('\n| training of task B | loss on A | increase on A | loss on B | decrease on B | seconds |');
  terminal.line('| --- | ---: | ---: | ---: | ---: | ---: |');
  terminal.line(`| (before task B) | ${before.a.toFixed(3)} | | ${before.b.toFixed(3)} | | |`);
  for (const { name, after, seconds } of rows.map((row) => ({ ...row, seconds: row.seconds.toFixed(0) }))) {
    terminal.line(
      `| ${name} | ${after.a.toFixed(3)} | ${signed(after.a - before.a)} | ${after.b.toFixed(3)} | ` +
        `${signed(before.b - after.b)} | ${seconds} |`,
    );
  }
  terminal.line(`\n${secondsSince(started).toFixed(0)} s in all.`);
  terminal.result({ before, rows, seconds: secondsSince(started) });
} finally {
  await rm(scratch, { recursive: true, force: true });
}
