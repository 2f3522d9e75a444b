import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTinyModel, Trainer } from 'whetstone';
import type { Conversation, DataTransform, HeldOutShare } from '@whetstone/core/contract';
import { remakeSplit } from '../../packages/data/src/plugins.js';
import { createSplit } from '../../packages/data/src/transforms/split/transform.js';
import { useBackend } from '../support/backend.js';

const chat = (question: string, answer: string, system?: string): Conversation => ({
  form: 'chat',
  messages: [
    ...(system === undefined ? [] : [{ role: 'system', content: system }]),
    { role: 'user', content: question },
    { role: 'assistant', content: answer },
  ],
  origin: { index: 0 },
});

async function questionsOf(split: DataTransform, conversations: readonly Conversation[]): Promise<string[]> {
  async function* all(): AsyncGenerator<Conversation> {
    yield* conversations;
  }
  const kept: string[] = [];
  for await (const { messages } of split.transform(all()))
    kept.push(String(messages.find(({ role }) => role === 'user')?.content));
  return kept;
}
const part = (name: HeldOutShare['part'], data: readonly Conversation[], share = 0.1, seed = 7): Promise<string[]> =>
  questionsOf(createSplit({ part: name, share, seed }), data);

const data = Array.from({ length: 4000 }, (_, index) => chat(`What is ${index}?`, `Number ${index}.`));

describe('data.evalShare', () => {
  it.each([0.02, 0.1, 0.5])('holds out a share of %d, and every conversation is in one part', async (share) => {
    const [train, held] = [await part('train', data, share), await part('eval', data, share)];
    expect([...train, ...held].sort()).toEqual(data.map(({ messages }) => messages[0]?.content).sort());
    // A binomial number: five standard deviations.
    const spread = 5 * Math.sqrt(data.length * share * (1 - share));
    expect(Math.abs(held.length - data.length * share)).toBeLessThan(spread);
  });

  it('is the same for the same seed, and another for another seed', async () => {
    expect(await part('eval', data)).toEqual(await part('eval', data));
    const [one, other] = [await part('eval', data, 0.1, 7), new Set(await part('eval', data, 0.1, 8))];
    // Independent choices share a tenth.
    expect(one.filter((question) => other.has(question)).length / one.length).toBeLessThan(0.2);
  });

  it('does not depend on the other data or on the order', async () => {
    const held = new Set(await part('eval', data));
    const more = Array.from({ length: 1000 }, (_, index) => chat(`Who is ${index}?`, 'Someone.'));
    const kept = (await part('eval', [...more, ...data.toReversed()])).filter((question) =>
      question.startsWith('What'),
    );
    expect(kept.sort()).toEqual([...held].sort());
  });

  it('keeps duplicates in one part, also if case, spaces, punctuation or system messages differ', async () => {
    const copies = data.flatMap(({ messages: [question, answer] }) => [
      chat(String(question?.content).toUpperCase(), `  ${String(answer?.content)}!`),
      chat(String(question?.content), String(answer?.content), 'Be brief.'),
    ]);
    const held = (await part('eval', data)).map((question) => question.toLowerCase());
    const heldCopies = (await part('eval', copies)).map((question) => question.toLowerCase());
    expect(heldCopies.sort()).toEqual([...held, ...held].sort());
  });

  it('distinguishes conversations without text', async () => {
    const calls = Array.from({ length: 400 }, (_, index): Conversation => ({
      form: 'chat',
      messages: [
        { role: 'assistant', content: null, tool_calls: [{ function: { name: 'look', arguments: { index } } }] },
      ],
      origin: { index },
    }));
    const held = await part('eval', calls, 0.5);
    expect(held.length).toBeGreaterThan(150);
    expect(held.length).toBeLessThan(250);
  });

  it('is the same in a worker thread', async () => {
    const { recipe } = createSplit({ part: 'eval', share: 0.1, seed: 7 });
    const remade = await remakeSplit(JSON.parse(JSON.stringify(recipe?.argument)));
    expect(await questionsOf(remade, data)).toEqual(await part('eval', data));
  });

  describe('in a run', () => {
    let folder: string;
    beforeAll(async () => {
      await useBackend('cpu');
      folder = await mkdtemp(join(tmpdir(), 'whetstone-share-'));
      await createTinyModel(join(folder, 'tiny'), { hiddenSize: 16, layers: 1 });
      const rows = data.slice(0, 40).map(({ messages }) => JSON.stringify({ messages }));
      await writeFile(join(folder, 'train.jsonl'), rows.join('\n'));
    });
    afterAll(() => rm(folder, { recursive: true, force: true }));

    const trainer = (ofData: object): Trainer =>
      new Trainer({
        model: join(folder, 'tiny'),
        backend: 'cpu',
        strategy: { use: 'lora', options: { rank: 2 } },
        data: { train: join(folder, 'train.jsonl'), leakage: { threshold: 1 }, ...ofData },
        loggers: [],
        training: { maxSteps: 1, saveStrategy: 'no', evalStrategy: 'ends', seed: 7 },
        output: { folder: join(folder, 'run'), overwrite: true },
      });

    it('evaluates on the held-out conversations only', async () => {
      const held = await part('eval', data.slice(0, 40), 0.3);
      expect(held.length).toBeGreaterThan(0);
      const made = trainer({ evalShare: 0.3 });
      let samples = 0;
      made.on('evaluate', (report) => (samples = report.samples));
      await made.run();
      expect(samples).toBe(held.length);
    });

    it('is an error if it holds out no conversation', async () => {
      await expect(trainer({ evalShare: 1e-9 }).run()).rejects.toMatchObject({
        code: 'DATA_EMPTY',
        message: 'The transforms, or data.evalShare, leave no conversation.',
        found: 'none of 40',
      });
    });

    it('cannot be combined with data.eval', async () => {
      await expect(trainer({ evalShare: 0.3, eval: join(folder, 'train.jsonl') }).run()).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        problems: [{ place: { path: 'data.evalShare' } }],
      });
    });
  });
});
