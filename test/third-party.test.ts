import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createScratchProject } from '../scripts/tests/scratch-project.mjs';
import { readPage } from './docs/markdown.js';
import { execute, repository, type CommandResult } from './support/execute.js';

// Needs the built packages, as `npm test` makes them.

/** The Node.js that runs what is installed: `npm run test:nodes` gives one that is too old for vitest. */
const node = process.env['WHETSTONE_TEST_NODE'] ?? process.execPath;

let folder: string;
let scales: string;

/** Writes the strategy with its own type of adapter of docs/write-a-strategy.md as a package. Returns its folder. */
async function outputScalesPackage(): Promise<string> {
  const { blocks } = await readPage('docs/write-a-strategy.md');
  const block = blocks.find(({ file }) => file === 'output-scales.js');
  const to = await mkdtemp(join(tmpdir(), 'whetstone-output-scales-'));
  await writeFile(join(to, 'index.js'), block?.text ?? expect.fail('The page has no output-scales.js.'));
  const example = JSON.parse(
    await readFile(join(repository, 'examples/custom-strategy/package.json'), 'utf8'),
  ) as object;
  const manifest = { ...example, name: 'whetstone-plugin-output-scales', exports: './index.js', files: ['index.js'] };
  await writeFile(join(to, 'package.json'), JSON.stringify(manifest));
  return to;
}

const whetstone = (...parameters: readonly string[]): Promise<CommandResult> =>
  execute(join(folder, 'node_modules/.bin/whetstone'), parameters, folder, {
    ...process.env,
    PATH: `${dirname(node)}${delimiter}${process.env['PATH'] ?? ''}`,
  });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-third-party-'));
  scales = await outputScalesPackage();
  await createScratchProject(folder, [
    join(repository, 'examples/third-party-callback'),
    join(repository, 'examples/custom-strategy'),
    join(repository, 'examples/ln-tuning'),
    scales,
  ]);
  await writeFile(
    join(folder, 'make-model.mjs'),
    "import { createTinyModel } from 'whetstone';\nawait createTinyModel('tiny', { hiddenSize: 32, layers: 1 });\n",
  );
  const made = await execute(node, ['make-model.mjs'], folder);
  expect(made, made.stderr).toMatchObject({ code: 0 });
  const rows = Array.from({ length: 8 }, (_, index) => ({
    messages: [
      { role: 'user', content: `What is ${index}?` },
      { role: 'assistant', content: `It is ${index}.` },
    ],
  }));
  await writeFile(join(folder, 'train.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));
}, 240_000);
afterAll(async () => {
  for (const each of [folder, scales]) await rm(each, { recursive: true, force: true });
});

async function train(name: string, callback: object, more: object = {}): Promise<CommandResult> {
  const config = {
    model: './tiny',
    backend: 'cpu',
    data: { train: 'train.jsonl' },
    strategy: 'full',
    callbacks: [callback],
    loggers: [],
    training: { maxSteps: 4, perDeviceTrainBatchSize: 2, saveStrategy: 'no' },
    output: { folder: `runs/${name}` },
    ...more,
  };
  await writeFile(join(folder, `${name}.json`), JSON.stringify(config));
  return whetstone('train', `${name}.json`, '--json');
}

/** Returns the loss that `whetstone evaluate` reports. */
const lossOf = async (model: string, ...parameters: readonly string[]): Promise<number> => {
  const shared = ['--data', 'train.jsonl', '--backend', 'cpu', '--json'];
  const result = await whetstone('evaluate', model, ...shared, ...parameters);
  expect(result, result.stderr).toMatchObject({ code: 0 });
  return (JSON.parse(result.stdout.trim().split('\n').at(-1) ?? '') as { readonly loss: number }).loss;
};

/**
 * Runs several commands of the installed package in one process, and returns what each of them prints.
 *
 * @param commands the parameters of each command; `chat` reads two questions, the second of which follows the first
 */
async function outputsOf(...commands: readonly (readonly string[])[]): Promise<readonly string[]> {
  const program = `
    import { Readable } from 'node:stream';
    import { runCommandLine } from './node_modules/whetstone/dist/command-line.js';
    const write = process.stdout.write;
    const outputs = [];
    for (const parameters of ${JSON.stringify(commands)}) {
      const value = Readable.from(['What is 1?\\nWhat is 2?\\n']);
      Object.defineProperty(process, 'stdin', { value, configurable: true });
      let text = '';
      process.stdout.write = (part) => ((text += part), true);
      const code = await runCommandLine([...parameters, '--backend', 'cpu']);
      if (code !== 0) process.exit(code);
      outputs.push(text);
    }
    process.stdout.write = write;
    console.log(JSON.stringify(outputs));`;
  const result = await execute(node, ['--input-type=module', '--eval', program], folder);
  expect(result, result.stderr).toMatchObject({ code: 0 });
  return JSON.parse(result.stdout) as string[];
}

/** Merges an adapter, and expects its loss and replies of the merged model, and others of the base. */
async function expectSameAsMerged(adapter: string, to: string): Promise<void> {
  const evaluate = ['evaluate', '--data', 'train.jsonl', '--json'];
  // At this temperature, nearly all tokens can be drawn: a reply follows from all logits, not only from the largest.
  const chat = ['chat', '--temperature', '2', '--max-new-tokens', '12'];
  const put = ['tiny', '--adapter', adapter];
  const [, ...outputs] = await outputsOf(
    ['merge', 'tiny', adapter, to],
    ...[['tiny'], put, [to]].flatMap((model) => [
      [...evaluate, ...model],
      [...chat, ...model],
    ]),
  );
  const [baseLoss = 0, loss = 0, mergedLoss = 0] = [0, 2, 4].map(
    (index) => (JSON.parse(outputs[index]?.trim().split('\n').at(-1) ?? '') as { readonly loss: number }).loss,
  );
  const [baseReplies, replies, mergedReplies] = [outputs[1], outputs[3], outputs[5]];
  expect(Math.abs(loss - baseLoss)).toBeGreaterThan(1e-4);
  expect(mergedLoss).toBeCloseTo(loss, 5);
  expect(replies).not.toBe(baseReplies);
  expect(mergedReplies).toBe(replies);
}

describe('an installed package', () => {
  it('has the command that messages name, which npx finds without a download', async () => {
    // `--no` refuses to install a package that is not there.
    const npx = await execute('npx', ['--no', '@whetstone/backend', 'install', 'cpu', '--dry-run', '--json'], folder);
    expect(npx, npx.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(npx.stdout)).toMatchObject({ kind: 'cpu' });
  });
});

it('the installed packages are listed', async () => {
  const listed = await whetstone('plugins', '--json');
  expect(listed, listed.stderr).toMatchObject({ code: 0 });
  const rows = JSON.parse(listed.stdout) as readonly { readonly kind: string; readonly name: string }[];
  expect(rows.filter(({ kind }) => kind === 'package').map(({ name }) => name)).toEqual([
    'whetstone-plugin-ln-tuning',
    'whetstone-plugin-lora-fa',
    'whetstone-plugin-loss-watchdog',
    'whetstone-plugin-output-scales',
  ]);
  expect(rows).toContainEqual({
    kind: 'package',
    name: 'whetstone-plugin-lora-fa',
    version: '1.0.0',
    description: expect.stringContaining('LoRA with frozen A') as string,
  });
});

describe("a third party's callback, packed, installed and named in a configuration", () => {
  it('takes part in a run of the command', async () => {
    const result = await train('watched', {
      use: 'whetstone-plugin-loss-watchdog',
      options: { threshold: 0.001, patience: 2 },
    });
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(result.stdout.trim().split('\n').at(-1) ?? '')).toMatchObject({
      steps: 2,
      stopReason: 'the loss was above 0.001 for 2 steps',
      backend: 'cpu',
    });
  });

  it('is validated like a built-in one', async () => {
    const result = await train('misspelled', {
      use: 'whetstone-plugin-loss-watchdog',
      options: { threshold: 'high', patienc: 2 },
    });
    expect(result.code).toBe(2);
    expect(result.stderr).toMatch(/callbacks\[0\]\.options\.threshold/);
    expect(result.stderr).toMatch(/Did you mean 'patience'/);
  });

  it('that is not installed is explained', async () => {
    const result = await train('missing', { use: 'whetstone-plugin-loss-watchdogs' });
    expect(result.code).toBe(2);
    expect(result.stderr).toMatch(/whetstone-plugin-loss-watchdogs/);
    expect(result.stderr).toMatch(/Check its name and author first/);
    expect(result.stderr).not.toMatch(/\bnpm (?:i|install)\b|\bnpx\b/);
  });
});

describe("a third party's strategy, packed, installed and named in a configuration", () => {
  const trainWith = (name: string, options: object): Promise<CommandResult> =>
    train(
      name,
      { use: 'nan-guard' },
      { strategy: { use: 'whetstone-plugin-lora-fa', options }, optimizer: { use: 'sgd', learningRate: 10 } },
    );

  it('trains, and evaluate, chat and merge use what it saves like any LoRA', async () => {
    const result = await trainWith('lora-fa', { rank: 2 });
    expect(result, result.stderr).toMatchObject({ code: 0 });
    const { outputFolder, steps } = JSON.parse(result.stdout.trim().split('\n').at(-1) ?? '') as {
      readonly outputFolder: string;
      readonly steps: number;
    };
    expect(steps).toBe(4);
    const adapter = join(resolve(folder, outputFolder), 'adapter');
    expect(JSON.parse(await readFile(join(adapter, 'adapter_config.json'), 'utf8'))).toMatchObject({
      peft_type: 'LORA',
      r: 2,
    });
    await expectSameAsMerged(adapter, 'merged-lora-fa');
  }, 240_000);

  it('is validated like a built-in one', async () => {
    const result = await trainWith('lora-fa-wrong', { rank: 0, targetModule: ['q_proj'] });
    expect(result.code).toBe(2);
    expect(result.stderr).toMatch(/strategy\.options\.rank/);
    expect(result.stderr).toMatch(/Did you mean 'targetModules'/);
  });
});

describe("a third party's strategy with a type of adapter of its own", () => {
  const name = 'whetstone-plugin-output-scales';
  let adapter = '';
  it('trains', async () => {
    const result = await train(
      'scales',
      { use: 'nan-guard' },
      { strategy: { use: name }, optimizer: { use: 'sgd', learningRate: 50 } },
    );
    expect(result, result.stderr).toMatchObject({ code: 0 });
    const { outputFolder } = JSON.parse(result.stdout.trim().split('\n').at(-1) ?? '') as { outputFolder: string };
    adapter = join(resolve(folder, outputFolder), 'adapter');
  });

  it('is used by generate', async () => {
    const parameters = ['--backend', 'cpu', '--prompt', 'What is 1?', '--max-new-tokens', '2'];
    const reply = await whetstone('generate', 'tiny', '--adapter', adapter, '--plugin', name, ...parameters);
    expect(reply, reply.stderr).toMatchObject({ code: 0 });
  });

  it('is merged', async () => {
    const merged = await whetstone('merge', 'tiny', adapter, 'merged-scales', '--plugin', name, '--backend', 'cpu');
    expect(merged, merged.stderr).toMatchObject({ code: 0 });
  });

  it('has the same loss as the merged model', async () => {
    const adapted = await lossOf('tiny', '--adapter', adapter, '--plugin', name);
    expect(Math.abs(adapted - (await lossOf('tiny')))).toBeGreaterThan(1e-4);
    expect(await lossOf('merged-scales')).toBeCloseTo(adapted, 5);
  });

  it('is explained if the package is not installed', async () => {
    const missing = join(folder, 'missing-adapter');
    await cp(adapter, missing, { recursive: true });
    const origin = { use: 'whetstone-plugin-missing', name: 'output-scales', version: '1.2.3' };
    await rm(join(missing, 'manifest.json'));
    await writeFile(join(missing, 'whetstone.json'), JSON.stringify({ strategy: origin }));
    for (const command of [
      ['generate', 'tiny', '--adapter', missing, '--prompt', 'What is 1?'],
      ['merge', 'tiny', missing, 'never-written'],
    ]) {
      const result = await whetstone(...command, '--backend', 'cpu');
      expect(result.code).toBe(1);
      expect(result.stderr).toMatch(/OUTPUT_SCALES/);
      expect(result.stderr).toMatch(/LORA, PREFIX_TUNING, PROMPT_TUNING/);
      expect(result.stderr).toMatch(/--plugin.*"whetstone-plugin-missing" of version 1\.2\.3/s);
    }
  });
});

describe("a third party's adapter of a type that no built-in strategy reads, found by its own folder", () => {
  let adapter = '';

  it('is trained, and names its package', async () => {
    const result = await train(
      'norms',
      { use: 'nan-guard' },
      { strategy: { use: 'whetstone-plugin-ln-tuning' }, optimizer: { use: 'sgd', learningRate: 1000 } },
    );
    expect(result, result.stderr).toMatchObject({ code: 0 });
    const { outputFolder } = JSON.parse(result.stdout.trim().split('\n').at(-1) ?? '') as { outputFolder: string };
    // Another folder, without the configuration of the run.
    adapter = join(folder, 'norms-adapter');
    await cp(join(resolve(folder, outputFolder), 'adapter'), adapter, { recursive: true });
    expect(JSON.parse(await readFile(join(adapter, 'whetstone.json'), 'utf8'))).toMatchObject({
      strategy: { use: 'whetstone-plugin-ln-tuning', name: 'ln-tuning', version: '1.0.0' },
    });
    expect(JSON.parse(await readFile(join(adapter, 'adapter_config.json'), 'utf8'))).toMatchObject({
      peft_type: 'LN_TUNING',
    });
  });

  it('is used by evaluate and chat, and merged', async () => {
    await expectSameAsMerged(adapter, 'merged-norms');
  }, 240_000);

  it('is not read by a package without the keyword, or by a file that the adapter brings', async () => {
    const strange = join(folder, 'strange-adapter');
    await cp(adapter, strange, { recursive: true });
    await rm(join(strange, 'manifest.json'));
    await writeFile(join(folder, 'ran.js'), "process.stdout.write('ran'); export default [];");
    for (const use of ['ajv', './ran.js', join(folder, 'ran.js')]) {
      await writeFile(join(strange, 'whetstone.json'), JSON.stringify({ strategy: { use, name: 'x', version: null } }));
      const result = await whetstone('generate', 'tiny', '--adapter', strange, '--prompt', 'x', '--backend', 'cpu');
      expect(result).toMatchObject({ code: 1, stdout: expect.not.stringContaining('ran') });
      expect(result.stderr).toMatch(/LN_TUNING/);
      expect(result.stderr).toContain(`trained with the strategy "${use}"`);
    }
  });
});

it('a local TypeScript file takes part as well, and shares the one copy of core', async () => {
  await writeFile(
    join(folder, 'mine.ts'),
    `import { definePlugin } from '@whetstone/core/contract';
    const name: string = 'mine';
    export default definePlugin({
      apiVersion: 2,
      kind: 'callback',
      name,
      configSchema: { type: 'object', additionalProperties: false },
      create: () => ({ onStep: (_report, control) => control.stop('mine says so') }),
    });`,
  );
  const result = await train('local', { use: './mine.ts' });
  expect(result, result.stderr).toMatchObject({ code: 0 });
  expect(JSON.parse(result.stdout.trim().split('\n').at(-1) ?? '')).toMatchObject({
    steps: 1,
    stopReason: 'mine says so',
  });
});

it('the packed packages bring their types', async () => {
  await writeFile(
    join(folder, 'check.ts'),
    `import type { RunReport } from '@whetstone/core/contract';
    import { Trainer } from 'whetstone';
    import watchdog, { lossWatchdog } from 'whetstone-plugin-loss-watchdog';
    const trainer = new Trainer('run.json', { plugins: [watchdog, lossWatchdog] });
    trainer.on('step', ({ loss }) => loss.toFixed(3));
    // @ts-expect-error no such event
    trainer.on('stpe', () => undefined);
    export const report: Promise<RunReport> = trainer.run();`,
  );
  const checked = await execute(
    process.execPath,
    [
      join(repository, 'node_modules/typescript/bin/tsc'),
      '--noEmit',
      '--strict',
      '--target',
      'es2022',
      '--module',
      'nodenext',
      '--skipLibCheck',
      'check.ts',
    ],
    folder,
  );
  expect(checked, checked.stdout).toMatchObject({ code: 0 });
});
