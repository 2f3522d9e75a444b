import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { runCommandLine } from '../packages/cli/src/command-line.js';
import { createTinyModel } from '../packages/cli/src/tiny-model.js';

// Whole commands that meet text of others. A terminal must not obey it; a pipe or file must receive it unchanged.

/** Clears the screen, sets the title, rings, hides, overwrites, and reorders what follows. */
const hostile = 'ev\u001b[2J\u001b]0;owned\u0007\u001b[8mil\u009b2J\u202egpj\u2067';
const shown = 'ev␛[2J␛]0;owned␇␛[8mil<U+009B>2J<U+202E>gpj<U+2067>';
/** Arabic and Hebrew with marks, Persian with a non-joiner, emoji with joiners and a variation selector. */
const ordinary = 'مرحبا\u061c! שלום\u200f (a) می\u200cخواهم 👩‍👩‍👧 ❤\ufe0f';

/** What a terminal obeys. */
const CONTROLS = /(?!\n|\t)[\p{Cc}\u2028-\u202e\u2066-\u2069]/u;

let folder: string;
let printed = { stdout: '', stderr: '' };

/** Runs a command whose output is a terminal with colours, or a pipe. */
async function run(parameters: readonly string[], isTerminal: boolean): Promise<number> {
  printed = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    Object.defineProperty(process[name], 'isTTY', { value: isTerminal, configurable: true });
    vi.spyOn(process[name], 'write').mockImplementation((text) => ((printed[name] += String(text)), true));
  }
  vi.spyOn(process, 'cwd').mockReturnValue(folder);
  vi.stubEnv('TERM', 'xterm');
  vi.stubEnv('NO_COLOR', '');
  vi.stubEnv('WHETSTONE_CACHE', join(folder, 'cache'));
  return runCommandLine(parameters);
}

/** Returns everything that was printed, without the colours and redrawing of Whetstone. */
const withoutStyles = (): string => {
  // The styles that are used (bold, dim, struck through, colours), and how the progress bar is drawn.
  const styles = '(?:0|1|2|9|2[29]|3[0-79]|4[29])m';
  const bar = '\\d*[ABGJK]|\\?(?:25|7)[hl]';
  const sequence = new RegExp(`${String.fromCharCode(27)}(?:[78]|\\[(?:${styles}|${bar}))|\\r`, 'g');
  return `${printed.stdout}${printed.stderr}`.replaceAll(sequence, '');
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-hostile-'));
  await createTinyModel(join(folder, 'tiny'), { hiddenSize: 16, layers: 1 });
  const row = (content: string): string =>
    JSON.stringify({
      messages: [
        { role: 'user', content: `hi ${content}` },
        { role: 'assistant', content: `${hostile} ${ordinary}` },
      ],
    });
  const rows = [1, 2, 3].map((n) => `${row(`${n}`)}\n`).join('');
  await writeFile(join(folder, `${hostile}.jsonl`), rows);
  await writeFile(join(folder, `${hostile}-torn.jsonl`), `${rows}{"${hostile}\n`);
  const config = {
    model: './tiny',
    backend: 'cpu',
    data: { train: `${hostile}-torn.jsonl`, maxLength: 256, unreadableRows: 'skip' },
    strategy: { use: 'lora', options: { rank: 2 } },
    training: { maxSteps: 1, perDeviceTrainBatchSize: 1 },
    output: { folder: `${hostile}-run` },
  };
  await writeFile(join(folder, 'run.json'), JSON.stringify(config));
  const plugin = join(folder, 'node_modules', 'bad');
  await mkdir(plugin, { recursive: true });
  const manifest = {
    name: 'bad',
    version: '1.0.0',
    description: `${hostile} ${ordinary}`,
    keywords: ['whetstone-plugin'],
  };
  await writeFile(join(plugin, 'package.json'), JSON.stringify(manifest));
  await createTinyModel(join(folder, 'strange'), { hiddenSize: 16, layers: 1 });
  const modelConfig = join(folder, 'strange', 'config.json');
  const text = await readFile(modelConfig, 'utf8');
  await writeFile(
    modelConfig,
    JSON.stringify({ ...(JSON.parse(text) as object), model_type: hostile, architectures: [hostile] }),
  );
  await createTinyModel(join(folder, 'tokens'), { hiddenSize: 16, layers: 1 });
  await writeFile(join(folder, 'tokens', 'tokenizer.json'), JSON.stringify({ model: { type: 'BPE', vocab: hostile } }));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

afterEach(() => {
  for (const name of ['stdout', 'stderr'] as const) delete (process[name] as { isTTY?: boolean }).isTTY;
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

const at = (name: string): string => join(folder, name);
const data = (): string => at(`${hostile}.jsonl`);
const generate = (model: string): string[] => {
  const prompts = ['--prompt', hostile, '--prompt', ordinary];
  return ['generate', at(model), '--backend', 'cpu', '--max-new-tokens', '1', ...prompts];
};
const inspect = (): string[] => ['data', 'inspect', data(), '--model', at('tiny'), '--max-length', '256'];

/** Whole commands, and their exit codes. */
const commands: Readonly<Record<string, readonly [parameters: () => string[], code: number]>> = {
  train: [() => ['train', at('run.json')], 0],
  'train into the same folder': [() => ['train', at('run.json')], 2],
  generate: [() => generate('tiny'), 0],
  'data inspect': [inspect, 0],
  'data report': [() => ['data', 'report', data(), '--out', at(`${hostile}.html`)], 0],
  'data report of a torn file': [
    () => ['data', 'report', at(`${hostile}-torn.jsonl`), '--out', at(`${hostile}-t.html`)],
    0,
  ],
  plugins: [() => ['plugins'], 0],
  doctor: [() => ['doctor', at(`${hostile}-run`)], 0],
  'a model of an unknown kind': [() => generate('strange'), 1],
  'a damaged tokenizer': [() => generate('tokens'), 1],
};

describe.skipIf(process.platform === 'win32')('text of others', () => {
  it.each(Object.entries(commands))(
    'is not obeyed by a terminal: %s',
    async (_, [parameters, code]) => {
      expect(await run(parameters(), true), printed.stderr).toBe(code);
      const text = withoutStyles();
      expect(text.match(CONTROLS)).toBeNull();
      // As symbols, or as JSON writes it.
      expect(text).toMatch(/ev(?:␛|\\u001b)\[2J/);
    },
    240_000,
  );

  it.each([
    ['generate', () => generate('tiny')],
    ['data inspect', inspect],
    ['plugins', () => ['plugins']],
  ])('is readable in a terminal, and unchanged in a pipe: %s', async (_, parameters) => {
    await run(parameters(), true);
    expect(printed.stdout).toContain(ordinary);
    expect(printed.stdout).toContain(shown);
    await run(parameters(), false);
    expect(printed.stdout).toContain(ordinary);
    expect(printed.stdout).toContain(hostile);
  });

  it("is not obeyed by a terminal: a server's answer", async () => {
    const server = createServer((_request, response) => response.end(hostile));
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    try {
      const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
      const options = { endpoint, model: 'm', attempts: 1, cacheFolder: at('answers') };
      const transform = JSON.stringify({ use: 'augment-paraphrase', options });
      expect(await run(['data', 'augment', data(), '--out', at('more.jsonl'), '--with', transform], true)).toBe(1);
      expect(withoutStyles().match(CONTROLS)).toBeNull();
      expect(printed.stderr).toContain('<U+009B>2J<U+202E>gpj');
    } finally {
      server.close();
    }
  });
});
