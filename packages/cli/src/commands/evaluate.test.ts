import { mkdtemp, rm, writeFile } from 'node:fs/promises';
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
