import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeCorpus, type Corpus } from './corpora.js';

const train = fileURLToPath(new URL('../../examples/data/chatterbot-en.train.jsonl', import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-corpora-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function written(corpus: Corpus, count: number): Promise<string[]> {
  const file = join(folder, `${corpus}.jsonl`);
  await writeCorpus(file, corpus, train, count);
  return (await readFile(file, 'utf8')).trim().split('\n');
}

test.each([
  ['prose', 20_000],
  ['code', 4_000],
] as const)('%s has no text twice, and says how much of it there is', async (corpus, count) => {
  const lines = await written(corpus, count);
  const texts = lines.flatMap((line) =>
    (JSON.parse(line) as { messages: { content: string }[] }).messages.map(({ content }) => content),
  );
  expect(texts).toHaveLength(2 * count);
  expect(new Set(texts).size).toBe(2 * count);
  expect(Math.min(...texts.map((text) => text.length))).toBeGreaterThan(10);
  await expect(written(corpus, 1_000_000)).rejects.toThrow(/has \d+ different conversations; 1000000 were asked for/);
});

test('a tenth of the dialogues repeats an earlier one, and a second run writes the same file', async () => {
  const lines = await written('dialogues', 4000);
  expect(lines).toHaveLength(4000);
  expect(new Set(lines).size).toBe(3600);
  expect(await written('dialogues', 4000)).toEqual(lines);
});
