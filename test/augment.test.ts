import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import '@tensorflow/tfjs-backend-cpu';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTinyModel, Trainer } from 'whetstone';

const folder = mkdtempSync(join(tmpdir(), 'whetstone-augment-'));
let server: Server;
let endpoint = '';
let asked = 0;
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

beforeAll(async () => {
  server = createServer((request, response) => {
    request.resume().on('end', () => {
      asked++;
      if (asked === 1) response.writeHead(503).end();
      else
        response.end(JSON.stringify({ choices: [{ message: { content: 'My parcel [ORDER_1], where is it now?' } }] }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  await createTinyModel(join(folder, 'model'), { hiddenSize: 16, layers: 1 });
  const row = (question: string, answer: string): string =>
    `${JSON.stringify({
      messages: [
        { role: 'user', content: question },
        { role: 'assistant', content: answer },
      ],
    })}\n`;
  writeFileSync(
    join(folder, 'train.jsonl'),
    row('Where is my parcel [ORDER_1]?', 'It is on its way.') + row('我的快递在哪里', '在路上。'),
  );
  writeFileSync(join(folder, 'eval.jsonl'), row('Is my quick parcel here?', 'Not yet.'));
  writeFileSync(join(folder, 'words.json'), JSON.stringify({ parcel: ['package'], 快递: ['包裹'] }));
});

interface Part {
  readonly counts: { readonly conversations: number };
  readonly transforms: readonly {
    readonly name: string;
    readonly conversationsIn: number;
    readonly conversationsOut: number;
    readonly changed: Readonly<Record<string, number>>;
  }[];
}

test(
  'a run augments its training data by dictionary, endpoint and a model of this machine, and its evaluation data ' +
    'never',
  async () => {
    const run = (): Trainer =>
      new Trainer(
        {
          model: 'model',
          backend: 'cpu',
          strategy: { use: 'lora', options: { rank: 2 } },
          loggers: [],
          data: {
            train: 'train.jsonl',
            eval: 'eval.jsonl',
            leakage: 'off',
            transforms: [
              // No copy is that much less likely: the model is asked, and rejects none.
              { use: 'augment-synonyms', options: { dictionary: 'words.json', rate: 1, maxLossIncrease: 100 } },
              { use: 'augment-paraphrase', options: { endpoint, model: 'any', pauseSeconds: 0.01 } },
              { use: 'augment-paraphrase', options: { model: 'model', cacheFolder: 'local' } },
            ],
          },
          training: { maxSteps: 1, evalStrategy: 'ends', saveStrategy: 'no' },
          output: { folder: 'run', overwrite: true },
        },
        { baseFolder: folder },
      );
    await run().run();
    const { train, eval: evaluation } = JSON.parse(readFileSync(join(folder, 'run', 'data.json'), 'utf8')) as {
      readonly train: Part;
      readonly eval: Part;
    };
    const [synonyms, endpointReport, localReport] = train.transforms;
    expect(synonyms).toMatchObject({
      name: 'augment-synonyms',
      version: expect.stringMatching(/^\d+$/) as string,
      options: { rate: expect.any(Number) as number },
      conversationsIn: 2,
      conversationsOut: 4,
      changed: { added: 2 },
    });
    // The endpoint's one answer fits one of the two conversations; for the other it is far too long.
    expect(endpointReport).toMatchObject({
      conversationsIn: 4,
      conversationsOut: 5,
      changed: { added: 1, 'rejected: length': 1 },
    });
    // A model that knows nothing says nothing of use: all of it is found out.
    expect(localReport).toMatchObject({ conversationsIn: 5, conversationsOut: 5 });
    expect(
      Object.entries(localReport?.changed ?? {}).reduce(
        (sum, [kind, count]) => sum + (kind.startsWith('rejected') ? count : 0),
        0,
      ),
    ).toBe(2);
    expect(readdirSync(join(folder, 'local'))).toHaveLength(2);
    expect(train.counts.conversations).toBe(5);
    expect(evaluation).toMatchObject({ counts: { conversations: 1 }, transforms: [] });
    // Nothing is asked twice.
    const before = asked;
    expect(before).toBe(3);
    await run().run();
    expect(asked).toBe(before);
  },
  300_000,
);
