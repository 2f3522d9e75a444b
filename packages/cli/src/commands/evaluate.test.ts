import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { runCommandLine } from '../command-line.js';
import { createTinyModel } from '../tiny-model.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-evaluate-'));
  await createTinyModel(join(folder, 'tiny'), { hiddenSize: 16, layers: 1 });
  const rows = ['one', 'two', 'three', 'four'].map((word) => ({
    messages: [
      { role: 'user', content: `Say ${word}.` },
      { role: 'assistant', content: word },
    ],
  }));
  await writeFile(join(folder, 'eval.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Result {
  readonly loss: number;
  readonly perplexity: number;
  readonly supervisedTokens: number;
  readonly samples: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly replies: readonly { readonly prediction: string; readonly reference: string }[];
  readonly intervals: Readonly<Record<string, readonly [number, number]>>;
  readonly comparison: Readonly<Record<string, Readonly<Record<string, unknown>>>> | null;
}

async function evaluate(
  ...parameters: string[]
): Promise<{ readonly code: number; readonly result: Result; readonly output: string }> {
  let output = '';
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => ((output += String(text)), true));
  const complain = vi.spyOn(process.stderr, 'write').mockImplementation((text) => ((output += String(text)), true));
  try {
    const code = await runCommandLine([
      'evaluate',
      join(folder, 'tiny'),
      '--data',
      join(folder, 'eval.jsonl'),
      '--backend',
      'cpu',
      '--max-new-tokens',
      '3',
      '--json',
      ...parameters,
    ]);
    return { code, result: JSON.parse(output.trim().split('\n').at(-1) ?? '{}') as Result, output };
  } finally {
    write.mockRestore();
    complain.mockRestore();
  }
}

test("the loss of the data's replies, and metrics of the model's replies", async () => {
  const { code, result, output } = await evaluate(
    '--metric',
    'exact-match',
    '--metric',
    '{"use": "distinct-n", "options": {"orders": [1]}}',
    '--replies',
    '3',
  );
  expect(code, output).toBe(0);
  expect(result.samples).toBe(4);
  expect(result.perplexity).toBeCloseTo(Math.exp(result.loss), 6);
  // Untrained: about as good as guessing among its vocabulary.
  expect(result.loss).toBeGreaterThan(2);
  expect(result.replies.map(({ reference }) => reference)).toEqual(['one', 'two', 'three']);
  expect(Object.keys(result.metrics)).toEqual(['exactMatch', 'distinct1']);
  for (const [name, value] of Object.entries({ loss: result.loss, perplexity: result.perplexity })) {
    const [low, high] = result.intervals[name] ?? [NaN, NaN];
    expect(low).toBeLessThan(value);
    expect(high).toBeGreaterThan(value);
  }
  // No reply of an untrained model is right, in any resample. Distinct n-grams are no sums over samples.
  expect(result.intervals['exactMatch']).toEqual([0, 0]);
  expect(result.intervals).not.toHaveProperty('distinct1');
  const again = await evaluate('--metric', 'exact-match', '--replies', '3');
  expect(again.result.replies).toEqual(result.replies);
  // The first evaluation loads all packages.
}, 180_000);

test('unknown metrics and invalid options are refused before a model is loaded', async () => {
  const missing = await evaluate('--metric', 'exact-mach');
  expect(missing.code).toBe(2);
  expect(missing.output).toMatch(/exact-match/);
  expect((await evaluate('--metric', '{"use": "distinct-n", "options": {"orders": [0]}}')).code).toBe(2);
});

test('a local metric of log-probabilities, for which no reply is generated', async () => {
  await writeFile(
    join(folder, 'likelihood.ts'),
    `import { definePlugin } from '@whetstone/core/contract';
    export default definePlugin({
      apiVersion: 2,
      kind: 'metric',
      name: 'likelihood',
      configSchema: { type: 'object', additionalProperties: false },
      create: () => ({
        needs: 'logProbabilities',
        createAccumulator: () => {
          let [sum, tokens] = [0, 0];
          return {
            add: ({ likelihoods }) => {
              for (const { logProbabilities } of likelihoods)
                for (const value of logProbabilities) {
                  sum += value;
                  tokens++;
                }
            },
            result: () => ({ mean: sum / tokens, tokens }),
          };
        },
      }),
    });`,
  );
  const { code, result, output } = await evaluate('--metric', join(folder, 'likelihood.ts'));
  expect(code, output).toBe(0);
  // Each conversation has one answer, so that its tokens are those of the loss.
  expect(result.metrics['mean']).toBeCloseTo(-result.loss, 5);
  expect(result.metrics['tokens']).toBe(result.supervisedTokens);
  expect(result.replies).toEqual([]);
});

test('bits per byte are those of the loss, and data without choices is refused for a metric of choices', async () => {
  const data = join(folder, 'choices.jsonl');
  const row = (answer: string): object => ({
    messages: [
      { role: 'user', content: `Say ${answer}.` },
      { role: 'assistant', content: answer },
    ],
    choices: ['one', 'two'],
  });
  await writeFile(data, [row('one'), row('two')].map((each) => JSON.stringify(each)).join('\n'));
  const { code, result, output } = await evaluate('--data', data, '--metric', 'token-likelihood');
  expect(code, output).toBe(0);
  // one, two, three, four, one, two: 21 bytes.
  const bits = (result.loss * result.supervisedTokens) / (Math.LN2 * 21);
  expect(result.metrics['bitsPerByte']).toBeCloseTo(bits, 5);
  expect(result.metrics['tokenAccuracy']).toBeLessThan(0.5);
  // The rows of the other file have no choices.
  const refused = await evaluate('--data', data, '--metric', 'multiple-choice');
  expect(refused).toMatchObject({ code: 1, output: expect.stringMatching(/eval\.jsonl:1.*choices/) as string });
}, 60_000);

test('a metric of version 1 of the contract is refused, with a hint how to upgrade it', async () => {
  await writeFile(
    join(folder, 'old.mjs'),
    `export default {
      apiVersion: 2,
      kind: 'metric',
      name: 'old',
      configSchema: { type: 'object', additionalProperties: false },
      create: () => ({ compute: () => ({ old: 1 }) }),
    };`,
  );
  const { code, output } = await evaluate('--metric', join(folder, 'old.mjs'));
  expect(code).not.toBe(0);
  expect(output).toMatch(/The metric 'old' has the method compute[^]*Upgrading plugins to version 2/);
});

interface Line {
  readonly index: number;
  readonly reference: string;
  readonly reply: string;
  readonly scores: Readonly<Record<string, number>>;
  readonly statistics: Readonly<Record<string, readonly number[]>>;
}

const linesOf = async (file: string): Promise<readonly Line[]> =>
  (await readFile(file, 'utf8'))
    .trimEnd()
    .split('\n')
    .slice(1)
    .map((line) => JSON.parse(line) as Line);

test('a samples file has the reply and the scores of each sample, and an interrupted one is continued', async () => {
  const file = join(folder, 'samples.jsonl');
  const options = ['--metric', 'chrf', '--replies', '4', '--samples', file];
  const { code, result, output } = await evaluate(...options);
  expect(code, output).toBe(0);
  const lines = await linesOf(file);
  expect(lines.map(({ index, reference }) => [index, reference])).toEqual([
    [0, 'one'],
    [1, 'two'],
    [2, 'three'],
    [3, 'four'],
  ]);
  expect(lines.map(({ reply }) => reply)).toEqual(result.replies.map(({ prediction }) => prediction));
  expect(lines.every(({ scores }) => Number.isFinite(scores['chrf']))).toBe(true);

  const again = await evaluate(...options);
  expect(again).toMatchObject({ code: 2, output: expect.stringMatching(/OUTPUT_EXISTS[^]*--resume/) as string });

  // As a kill leaves it, in the middle of the third line. A kept reply is used as it is.
  const whole = await readFile(file, 'utf8');
  const [header = '', first = '', second = '', third = ''] = whole.split('\n');
  const changed = { ...(JSON.parse(second) as Line), reply: 'two' };
  await writeFile(file, [header, first, JSON.stringify(changed), third.slice(0, 40)].join('\n'));
  const resumed = await evaluate(...options, '--resume');
  expect(resumed.code, resumed.output).toBe(0);
  const pairs = result.replies.map((pair, index) => (index === 1 ? { ...pair, prediction: 'two' } : pair));
  expect(resumed.result.replies).toEqual(pairs);
  expect((await linesOf(file)).map(({ reply }) => reply)).toEqual(pairs.map(({ prediction }) => prediction));

  const other = await evaluate(...options, '--resume', '--max-new-tokens', '4');
  expect(other).toMatchObject({ code: 2, output: expect.stringContaining('SAMPLES_DIFFER') as string });
  await appendFile(file, '{"index": 9}\n');
  expect((await evaluate(...options, '--resume')).output).toMatch(/DATA_UNREADABLE[^]*the sample with the index 4/);
}, 180_000);

test('two models are compared on the same samples', async () => {
  const before = join(folder, 'before.jsonl');
  const options = ['--metric', 'exact-match', '--replies', '4'];
  expect((await evaluate(...options, '--samples', before)).code).toBe(0);
  // The first model is made to answer three of four samples correctly; this one answers none.
  const [header = '', ...lines] = (await readFile(before, 'utf8')).trimEnd().split('\n');
  const right = lines.map((line, index) => ({
    ...(JSON.parse(line) as Line),
    ...(index < 3 && { statistics: { 'exact-match': [1, 1] } }),
  }));
  const write = (rows: readonly object[]): Promise<void> =>
    writeFile(before, [header, ...rows.map((row) => JSON.stringify(row)), ''].join('\n'));
  await write(right);
  const { code, result, output } = await evaluate(...options, '--compare', before);
  expect(code, output).toBe(0);
  expect(result.comparison).toMatchObject({
    exactMatch: {
      first: 0.75,
      second: 0,
      difference: -0.75,
      higher: 0,
      lower: 3,
      equal: 1,
      // Three losses of three: 2 · ½³.
      signTest: 0.25,
      // Deviation of (-1, -1, -1, 0): 0.5. ((1.95996 + 0.84162) · 0.5 ÷ 0.75)² = 3.49.
      samplesNeeded: 4,
    },
  });
  await write(right.map((row, index) => (index === 1 ? { ...row, reference: 'three' } : row)));
  expect((await evaluate(...options, '--compare', before)).output).toMatch(
    /SAMPLES_DIFFER[^]*before\.jsonl:3[^]*the answer "three"/,
  );
}, 180_000);
