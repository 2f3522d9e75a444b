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
});

test('unknown metrics and invalid options are refused before a model is loaded', async () => {
  const missing = await evaluate('--metric', 'exact-mach');
  expect(missing.code).toBe(2);
  expect(missing.output).toMatch(/exact-match/);
  expect((await evaluate('--metric', '{"use": "distinct-n", "options": {"orders": [0]}}')).code).toBe(2);
});
