import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTinyModel } from './tiny-model.js';

// The command as it is installed, in a process of its own.
const main = fileURLToPath(new URL('../bin/whetstone.js', import.meta.url));

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The object that `--json` prints last on standard output. */
  readonly json: Readonly<Record<string, unknown>>;
}

let folder: string;

function start(
  parameters: readonly string[],
  input?: string,
): { readonly child: ChildProcess; readonly done: Promise<Outcome> } {
  const child = spawn(process.execPath, [main, ...parameters], {
    cwd: folder,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, WHETSTONE_CACHE: join(folder, 'cache'), NODE_ENV: 'test' },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdin.end(input ?? '');
  const done = new Promise<Outcome>((resolve) => {
    child.on('close', (code) => {
      const last = stdout.trim().split('\n').at(-1) ?? '';
      resolve({
        code,
        stdout,
        stderr,
        json: last.startsWith('{') || last.startsWith('[') ? (JSON.parse(last) as Outcome['json']) : {},
      });
    });
  });
  return { child, done };
}

const whetstone = (parameters: readonly string[], input?: string): Promise<Outcome> => start(parameters, input).done;

const config = (more: Readonly<Record<string, unknown>> = {}): object => ({
  model: 'tiny',
  backend: 'cpu',
  data: { train: 'train.jsonl', eval: 'eval.jsonl', maxLength: 48 },
  strategy: { use: 'lora', options: { rank: 2, alpha: 4 } },
  optimizer: { learningRate: 1e-3 },
  training: { maxSteps: 3, perDeviceTrainBatchSize: 2, evalStrategy: 'ends', saveStrategy: 'steps', saveSteps: 2 },
  output: { folder: 'run' },
  ...more,
});
const writeConfig = (name: string, value: object): Promise<void> =>
  writeFile(join(folder, name), JSON.stringify(value, null, 2));

beforeAll(async () => {
  if (!existsSync(new URL('../dist/main.js', import.meta.url)))
    throw new Error('The command is not built: run `npm run build` first.');
  folder = await mkdtemp(join(tmpdir(), 'whetstone-command-'));
  await createTinyModel(join(folder, 'tiny'), { hiddenSize: 32, layers: 1 });
  const rows = Array.from({ length: 8 }, (_, index) =>
    JSON.stringify({
      conversation: [
        { role: 'user', content: `hi ${index}` },
        { role: 'assistant', content: 'hello' },
      ],
    }),
  );
  await writeFile(join(folder, 'train.jsonl'), `${rows.join('\n')}\n`);
  const others = ['where is the station', 'what do bees eat'].map((content) =>
    JSON.stringify({
      conversation: [
        { role: 'user', content },
        { role: 'assistant', content: 'over there' },
      ],
    }),
  );
  await writeFile(join(folder, 'eval.jsonl'), `${others.join('\n')}\n`);
  await writeConfig('run.json', config());
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('training data that contains evaluation data', () => {
  const returns = 'Shoes can be returned within thirty days, as long as they were not worn outside.';
  const row = (user: string, assistant: string): string =>
    `${JSON.stringify({
      messages: [
        { role: 'user', content: user },
        { role: 'assistant', content: assistant },
      ],
    })}\n`;

  test('ends the run before the first step, with a list of the pairs and a hint', async () => {
    await writeFile(
      join(folder, 'leaky.jsonl'),
      row('Where is my parcel?', 'It comes tomorrow.') + row('Can I return my new shoes?', returns),
    );
    await writeFile(join(folder, 'held.jsonl'), row('Can I return my shoes?', returns));
    const data = { train: 'leaky.jsonl', eval: 'held.jsonl', maxLength: 128 };
    await writeConfig(
      'leaky.json',
      config({ data, training: { maxSteps: 1, perDeviceTrainBatchSize: 1 }, output: { folder: 'leaky' } }),
    );
    const stopped = await whetstone(['train', 'leaky.json', '--json']);
    expect(stopped.code).toBe(1);
    expect(stopped.stderr).toMatch(/\[DATA_LEAKAGE\] 1 conversation of the training data repeats evaluation data/);
    expect(stopped.stderr).toMatch(/leaky\.jsonl:2: [789]\d % similar to .*held\.jsonl:1/);
    expect(stopped.stderr).toContain('"onLeak": "drop"');
    expect(existsSync(join(folder, 'leaky', 'data.json'))).toBe(false);
    // Each of the ways out that the error names.
    const [drop, equal, warned] = [
      await whetstone([
        'train',
        'leaky.json',
        '--set',
        'data.transforms=[{"use":"deduplicate","options":{"against":["held.jsonl"],"onLeak":"drop"}}]',
      ]),
      await whetstone([
        'train',
        'leaky.json',
        '--set',
        'data.leakage={"threshold":1}',
        '--set',
        'output.overwrite=true',
      ]),
      await whetstone(['train', 'leaky.json', '--set', 'data.leakage=warn', '--set', 'output.overwrite=true']),
    ];
    expect([drop, equal, warned].map(({ code, stderr }) => (code === 0 ? 0 : stderr))).toEqual([0, 0, 0]);
    expect(drop.stdout).toMatch(/removed 1 in-evaluation-data/);
    expect(warned.stdout + warned.stderr).toMatch(/% similar to .*held\.jsonl:1/);
  }, 120_000);
});

describe('usage', () => {
  test('help and version exit with code 0', async () => {
    const help = await whetstone(['--help']);
    expect(help.code).toBe(0);
    for (const name of ['train', 'chat', 'generate', 'import', 'merge', 'backend', 'model', 'plugins', 'schema'])
      expect(help.stdout).toContain(name);
    expect(await whetstone(['--version'])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) as string,
    });
  });

  test.each([
    [['tran', 'run.json'], /Did you mean train/],
    [['train'], /missing required argument/],
    [['train', 'run.json', '--sett', 'a=1'], /Did you mean --set/],
    [['train', 'run.json', '--set', 'nonsense'], /USAGE/],
    [['generate', 'tiny', '--top-k', 'many'], /It must be a number/],
    [['generate', 'tiny'], /No prompt was given/],
    [['backend', 'install', 'gpu'], /Backend "gpu" not found/],
    [['train', 'missing.json'], /CONFIG_UNREADABLE.*missing\.json/],
  ])('%j is refused with exit code 2', async (parameters, pattern) => {
    const { code, stderr } = await whetstone(parameters);
    expect(stderr).toMatch(pattern);
    expect(code).toBe(2);
  });

  test('all problems of a configuration are reported together, as text and as JSON', async () => {
    await writeConfig('bad.json', config({ strategy: 'lorra', trainig: {}, training: { maxSteps: 'many' } }));
    const { code, stderr, stdout, json } = await whetstone(['train', 'bad.json', '--json', '--set', 'data.maxLenth=3']);
    expect(code).toBe(2);
    for (const hint of [
      /Did you mean 'lora'/,
      /Did you mean 'training'/,
      /Did you mean 'maxLength'/,
      /training\.maxSteps/,
    ])
      expect(stderr).toMatch(hint);
    expect(stdout.trim().split('\n')).toHaveLength(1);
    expect(json).toMatchObject({ error: { code: 'CONFIG_INVALID' } });
    expect((json['error'] as { problems: unknown[] }).problems).toHaveLength(4);
    expect(existsSync(join(folder, 'run'))).toBe(false);
  });
});

describe('train', () => {
  test('prints progress and one JSON object; a second run refuses the folder', async () => {
    const { code, stdout, stderr, json } = await whetstone(['train', 'run.json', '--json']);
    expect(stderr).toMatch(/step 1\/3 {2}loss \d\.\d{4} {2}lr .* supervised tokens\/s .* left/);
    expect(code).toBe(0);
    expect(stdout.trim().split('\n')).toHaveLength(1);
    const names = [
      'evalLossBefore',
      'evalLossAfter',
      'steps',
      'seconds',
      'samplesPerSecond',
      'tokensPerSecond',
      'supervisedTokensPerSecond',
      'peakMemoryBytes',
      'backend',
      'engine',
      'outputFolder',
    ];
    for (const name of names) expect(json, name).toHaveProperty(name);
    expect(json).toMatchObject({ steps: 3, backend: 'cpu', engine: 'cpu', outputFolder: join(folder, 'run') });
    expect(json['evalLossAfter']).toBeLessThan(json['evalLossBefore'] as number);
    for (const file of [
      'config.resolved.json',
      'metrics.jsonl',
      'adapter/adapter_config.json',
      'adapter/adapter_model.safetensors',
      'checkpoint-2',
    ])
      expect(existsSync(join(folder, 'run', file)), file).toBe(true);

    const again = await whetstone(['train', 'run.json', '--json']);
    expect(again).toMatchObject({ code: 2, json: { error: { code: 'OUTPUT_EXISTS' } } });
  });

  test('--dry-run ends as the run would, with one JSON object and an untouched output folder', async () => {
    const output = join(folder, 'dry');
    await mkdir(output);
    await writeFile(join(output, 'notes.txt'), 'mine');
    const dryRun = (...more: string[]): Promise<Outcome> =>
      whetstone(['train', 'run.json', '--dry-run', '--json', ...more.flatMap((setting) => ['--set', setting])]);
    const outcomes = await Promise.all([
      dryRun('output.folder=unwritten'),
      dryRun('output.folder=unwritten', 'training.maxStpes=3'),
      dryRun('output.folder=unwritten', 'data.maxLength=8'),
      dryRun('output.folder=dry'),
    ]);
    expect(outcomes.map(({ code, json }) => [code, (json['error'] as { code?: string } | undefined)?.code])).toEqual([
      [0, undefined],
      [2, 'CONFIG_INVALID'],
      [1, 'DATA_NOTHING_TO_LEARN'],
      [2, 'OUTPUT_EXISTS'],
    ]);
    for (const { stdout } of outcomes) expect(stdout.trim().split('\n')).toHaveLength(1);
    const [planned] = outcomes;
    expect(planned.json).toMatchObject({
      dryRun: true,
      plans: [{ totalSteps: 3, startStep: 0, evaluations: 2, checkpoints: 2, outputFolder: join(folder, 'unwritten') }],
    });
    expect(planned.stderr).toContain('Dry run: nothing was trained');
    expect(existsSync(join(folder, 'unwritten'))).toBe(false);
    expect(readdirSync(output)).toEqual(['notes.txt']);
  });

  test('--set overrides the file; without --json the report is text', async () => {
    const { code, stdout } = await whetstone([
      'train',
      'run.json',
      '--set',
      'training.maxSteps=1',
      '--set',
      'output.folder=other',
      '--set',
      'data.eval=null',
      '--set',
      'training.evalStrategy=no',
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/1 steps? in/);
    expect(existsSync(join(folder, 'other', 'adapter'))).toBe(true);
  });

  test('stages are trained in order, named in the output, and not repeated by --resume', async () => {
    const stages = [
      { name: 'general', optimizer: { learningRate: 2e-3 } },
      { name: 'style', data: { train: 'eval.jsonl', eval: 'train.jsonl' }, training: { maxSteps: 2 } },
    ];
    await writeConfig('staged.json', config({ stages, output: { folder: 'staged' } }));
    const { code, stderr, json } = await whetstone(['train', 'staged.json', '--json']);
    expect(code).toBe(0);
    expect(stderr).toMatch(/Stage 1 of 2: general[^]*Stage 2 of 2: style/);
    expect(json).toMatchObject({
      steps: 5,
      stages: [
        { stage: 'general', steps: 3 },
        { stage: 'style', steps: 2 },
      ],
    });
    expect(readdirSync(join(folder, 'staged')).sort()).toEqual([
      '1-general',
      '2-style',
      'adapter',
      'config.resolved.json',
      'stages.json',
    ]);
    const again = await whetstone(['train', 'staged.json', '--json', '--resume']);
    expect(again).toMatchObject({ code: 0, json: { steps: 5 } });
    expect(again.stderr).not.toMatch(/Stage 1 of 2/);
  });

  test('an interruption saves a checkpoint and exits with 130; --resume continues from it', async () => {
    await writeConfig(
      'long.json',
      config({
        training: { maxSteps: 100000, perDeviceTrainBatchSize: 2, saveStrategy: 'no' },
        output: { folder: 'long' },
      }),
    );
    const { child, done } = start(['train', 'long.json', '--json']);
    await new Promise<void>((resolve) =>
      child.stderr?.on('data', (chunk: Buffer) => (/step 1\//.test(chunk.toString()) ? resolve() : undefined)),
    );
    child.kill('SIGINT');
    const { code, stderr, json } = await done;
    expect(stderr).toContain('writing a checkpoint');
    expect(code).toBe(130);
    expect(json).toMatchObject({ error: { code: 'INTERRUPTED' } });
    const checkpoint = /checkpoint-(\d+)/.exec(stderr)?.[1];
    expect(checkpoint).toBeDefined();
    expect(json).toMatchObject({
      error: { details: { step: Number(checkpoint), checkpoint: join(folder, 'long', `checkpoint-${checkpoint}`) } },
    });
    expect(existsSync(join(folder, 'long', `checkpoint-${checkpoint}`, 'trainer_state.json'))).toBe(true);

    const steps = Number(checkpoint) + 2;
    const resumed = await whetstone([
      'train',
      'long.json',
      '--json',
      '--resume',
      '--set',
      `training.maxSteps=${steps}`,
    ]);
    expect(resumed.stderr).toContain(`Resuming after step ${checkpoint}`);
    expect(resumed).toMatchObject({ code: 0, json: { steps } });
  });

  test('SIGUSR1 and SIGHUP save a checkpoint and the run continues; nobody else writes to its folder', async () => {
    await writeConfig(
      'signals.json',
      config({
        training: { maxSteps: 100000, perDeviceTrainBatchSize: 2, saveStrategy: 'no' },
        output: { folder: 'signals' },
      }),
    );
    const { child, done } = start(['train', 'signals.json']);
    let shown = '';
    child.stdout?.on('data', (chunk: Buffer) => (shown += chunk.toString()));
    child.stderr?.on('data', (chunk: Buffer) => (shown += chunk.toString()));
    const seen = async (pattern: RegExp): Promise<string> => {
      for (;;) {
        const [, found] = pattern.exec(shown) ?? [];
        if (found !== undefined) return found;
        if (child.exitCode !== null) throw new Error(`The run ended without ${String(pattern)}:\n${shown}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    await seen(/step (1)\//);
    child.kill('SIGUSR1');
    const first = await seen(/saved .*checkpoint-(\d+)/);
    child.kill('SIGHUP');
    const second = await seen(new RegExp(`saved .*checkpoint-(?!${first}\\b)(\\d+)`));
    expect(Number(second)).toBeGreaterThan(Number(first));

    const refused = await whetstone(['train', 'signals.json', '--json', '--resume']);
    expect(refused).toMatchObject({
      code: 1,
      json: {
        error: { code: 'OUTPUT_LOCKED', details: { pid: child.pid }, found: expect.stringContaining('process') },
      },
    });
    child.kill('SIGKILL');
    await done;
    const steps = Number(second) + 1;
    const resumed = await whetstone([
      'train',
      'signals.json',
      '--json',
      '--resume',
      '--set',
      `training.maxSteps=${steps}`,
    ]);
    expect(resumed.stderr).toContain(`Resuming after step ${second}`);
    expect(resumed).toMatchObject({ code: 0, json: { steps } });
    expect(existsSync(join(folder, 'signals', '.run.lock'))).toBe(false);
  }, 240_000);

  test('SIGTERM saves a checkpoint, and a second signal ends the run at once', async () => {
    await writeFile(
      join(folder, 'slow-save.mjs'),
      `export default {
        apiVersion: 2,
        kind: 'callback',
        name: 'slow-save',
        configSchema: { type: 'object', properties: {}, additionalProperties: false },
        create: () => ({ onSave: () => new Promise((resolve) => setTimeout(resolve, 120_000)) }),
      };`,
    );
    const training = { maxSteps: 100000, perDeviceTrainBatchSize: 2, saveStrategy: 'no' };
    await writeConfig('slow.json', config({ training, callbacks: ['./slow-save.mjs'], output: { folder: 'slow' } }));
    const { child, done } = start(['train', 'slow.json']);
    const shows = (pattern: RegExp): Promise<void> =>
      new Promise((resolve) => {
        for (const stream of [child.stdout, child.stderr])
          stream?.on('data', (chunk: Buffer) => (pattern.test(chunk.toString()) ? resolve() : undefined));
      });
    await shows(/step 1\//);
    const writing = shows(/writing a checkpoint/);
    child.kill('SIGTERM');
    await writing;
    while (!readdirSync(join(folder, 'slow')).some((name) => name.startsWith('checkpoint-')))
      await new Promise((resolve) => setTimeout(resolve, 20));
    const interrupted = performance.now();
    child.kill('SIGINT');
    expect((await done).code).toBe(130);
    expect(performance.now() - interrupted).toBeLessThan(60_000);
  }, 240_000);

  test('an unknown model is reported with the models that can be downloaded', async () => {
    const { code, stderr } = await whetstone([
      'train',
      'run.json',
      '--set',
      'model=smollm2-135m',
      '--set',
      'output.folder=none',
    ]);
    expect(stderr).toMatch(/MODEL_NOT_FOUND.*\n(.*\n)*.*whetstone model fetch smollm2-135m/);
    expect(code).toBe(1);
    expect(existsSync(join(folder, 'none'))).toBe(false);
  });
});

describe('commands for trained models', () => {
  const generate = (parameters: readonly string[]): Promise<Outcome> =>
    whetstone(['generate', ...parameters, '--backend', 'cpu', '--prompt', 'hi 1', '--max-new-tokens', '6', '--json']);

  test('generate uses an adapter, and merge adds it to the weights', async () => {
    const adapted = await generate(['tiny', '--adapter', 'run/adapter']);
    expect(adapted).toMatchObject({ code: 0, json: { replies: [{ prompt: 'hi 1' }], backend: 'cpu' } });
    expect(await whetstone(['merge', 'tiny', 'run/adapter', 'merged', '--backend', 'cpu', '--json'])).toMatchObject({
      code: 0,
      json: { model: join(folder, 'merged') },
    });
    const refused = await whetstone([
      'merge',
      'tiny',
      'run/adapter',
      'rounded',
      '--backend',
      'cpu',
      '--dtype',
      'bfloat16',
      '--tolerance',
      '0',
    ]);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('MERGE_DIFFERS') as string });
    expect(existsSync(join(folder, 'rounded'))).toBe(false);
    expect(
      await whetstone([
        'merge',
        'tiny',
        'run/adapter',
        'rounded',
        '--backend',
        'cpu',
        '--dtype',
        'bfloat16',
        '--tolerance',
        '10',
        '--json',
      ]),
    ).toMatchObject({ code: 0, json: { dtype: 'bfloat16', base: 'original' } });
    // The base decides the type: bfloat16 takes half of the bytes of float32.
    expect(await whetstone(['merge', 'rounded', 'run/adapter', 'as-base', '--backend', 'cpu', '--json'])).toMatchObject(
      {
        code: 0,
        json: { dtype: 'bfloat16' },
      },
    );
    const bytes = (name: string): number => statSync(join(folder, name, 'model.safetensors')).size;
    expect(bytes('as-base')).toBe(bytes('rounded'));
    expect(bytes('as-base')).toBeLessThan(0.75 * bytes('merged'));
    expect(await whetstone(['merge', 'tiny', 'run/adapter', 'x', '--tolerance', 'much'])).toMatchObject({ code: 2 });
    const merged = await generate(['merged']);
    expect((merged.json['replies'] as { reply: string }[])[0]?.reply).toBe(
      (adapted.json['replies'] as { reply: string }[])[0]?.reply,
    );
    expect(await whetstone(['merge', 'tiny', 'run/adapter', 'merged', '--backend', 'cpu'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('OUTPUT_EXISTS') as string,
    });
    expect(await generate(['tiny', '--adapter', 'tiny'])).toMatchObject({
      code: 1,
      json: { error: { code: 'ADAPTER_INVALID' } },
    });
  });

  test('generate continues until the minimum length', async () => {
    const longest = await generate(['tiny', '--min-new-tokens', '6']);
    expect(longest.json).toMatchObject({ replies: [{ tokens: 6, finish: 'length' }] });
  });

  test('generate answers several prompts at once, and prints them in order or as they finish', async () => {
    const options = ['tiny', '--backend', 'cpu', '--prompt', 'hi 1', '--prompt', 'hi 2', '--max-new-tokens', '3'];
    const all = await whetstone(['generate', ...options, '--n', '2', '--log-probabilities', '1', '--json']);
    const replies = all.json['replies'] as {
      readonly prompt: string;
      readonly reply: string;
      readonly logProbabilities: { readonly logProbability: number; readonly top: readonly object[] }[];
    }[];
    expect(replies.map(({ prompt }) => prompt)).toEqual(['hi 1', 'hi 1', 'hi 2', 'hi 2']);
    expect(replies[0]?.logProbabilities).toHaveLength(3);
    for (const { logProbability, top } of replies[0]?.logProbabilities ?? [])
      expect(top).toMatchObject([{ logProbability }]);
    const plain = await whetstone(['generate', ...options, '--batch-size', '1']);
    expect(plain.stdout).toBe(`> hi 1\n${replies[0]?.reply}\n\n> hi 2\n${replies[2]?.reply}\n`);
    const { stdout } = await whetstone(['generate', ...options, '--json-lines']);
    const lines = stdout.trim().split('\n');
    const objects = lines.map((line) => JSON.parse(line) as { readonly index: number; readonly reply: string });
    expect(objects.toSorted((one, other) => one.index - other.index)).toMatchObject([
      { index: 0, prompt: 'hi 1', reply: replies[0]?.reply },
      { index: 1, prompt: 'hi 2', reply: replies[2]?.reply },
    ]);
  });

  test('a QLoRA adapter stores how its base was quantised; --base original changes the model', async () => {
    await writeConfig(
      'qlora.json',
      config({
        strategy: { use: 'qlora', options: { rank: 2 } },
        training: { maxSteps: 2, perDeviceTrainBatchSize: 2, saveStrategy: 'no' },
        output: { folder: 'qlora' },
      }),
    );
    expect(await whetstone(['train', 'qlora.json', '--json'])).toMatchObject({ code: 0 });
    expect(JSON.parse(await readFile(join(folder, 'qlora/adapter/quantization_config.json'), 'utf8'))).toMatchObject({
      quant_method: 'bitsandbytes',
      load_in_4bit: true,
      bnb_4bit_quant_type: 'nf4',
      bnb_4bit_use_double_quant: true,
    });
    const merged = await whetstone(['merge', 'tiny', 'qlora/adapter', 'qlora-merged', '--backend', 'cpu', '--json']);
    expect(merged).toMatchObject({ code: 0, json: { base: 'quantized' } });
    const original = await whetstone([
      'merge',
      'tiny',
      'qlora/adapter',
      'onto-original',
      '--backend',
      'cpu',
      '--base',
      'original',
      '--tolerance',
      String(2 * Number(merged.json['largestLogitDifference'])),
      '--json',
    ]);
    expect(original).toMatchObject({ code: 1, json: { error: { code: 'MERGE_DIFFERS' } } });
    expect(existsSync(join(folder, 'onto-original'))).toBe(false);
  });

  test('chat replies line by line, starts a new conversation and quits', async () => {
    const { code, stdout } = await whetstone(
      [
        'chat',
        'tiny',
        '--backend',
        'cpu',
        '--max-new-tokens',
        '4',
        '--temperature',
        '0.8',
        '--top-k',
        '5',
        '--top-p',
        '0.9',
        '--repetition-penalty',
        '1.1',
      ],
      'hi\nagain\n/reset\n/exit\nnever\n',
    );
    expect(code).toBe(0);
    expect(stdout).toContain('A new conversation begins.');
  });
});

describe('listing commands', () => {
  test('plugins, models and the backend are listed, as text and as JSON', async () => {
    const plugins = await whetstone(['plugins', '--json']);
    expect(plugins.json).toEqual(expect.arrayContaining([expect.objectContaining({ kind: 'strategy', name: 'lora' })]));
    expect((await whetstone(['model', 'list', '--json'])).json).toEqual([
      expect.objectContaining({
        name: 'smollm2-135m',
        fetched: false,
        description: expect.stringContaining('Q4_1 GGUF (4 bits a weight), dequantised to bfloat16') as string,
      }),
    ]);
    expect((await whetstone(['backend', 'info', '--backend', 'cpu', '--json'])).json).toMatchObject({
      backend: 'cpu',
      cache: join(folder, 'cache'),
    });
  });

  test('the complete schema for editors is written', async () => {
    await mkdir(join(folder, 'schemas'));
    expect((await whetstone(['schema', '--out', 'schemas/whetstone.schema.json'])).code).toBe(0);
    const schema = JSON.parse(await readFile(join(folder, 'schemas/whetstone.schema.json'), 'utf8')) as {
      properties: object;
    };
    expect(Object.keys(schema.properties)).toEqual(
      expect.arrayContaining(['model', 'data', 'strategy', 'training', 'output']),
    );
  });
});
