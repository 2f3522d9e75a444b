import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import {
  defaultsOf,
  type Conversation,
  type DataTransform,
  type Message,
  type PluginContext,
} from '@whetstone/core/contract';
import { textOf } from '../examples/message-text.js';
import { languageOf } from '../report/language.js';
import { formatOrigin } from '../sources/origins.js';
import { collect, temporaryFolder } from '../testing/files.js';
import { chat, sourceOf } from '../testing/sources.js';
import { applyTransforms } from '../transforms/apply.js';
import { rejectParaphrase } from './paraphrase.js';
import { createParaphraseTransform, createTurnTransform } from './transforms.js';
import { paraphraseSchema } from './options.js';

const run = (
  conversations: readonly Omit<Conversation, 'origin'>[],
  transform: DataTransform,
): Promise<Conversation[]> => collect(applyTransforms(sourceOf(conversations), [transform]).conversations());
const contents = ({ messages }: Conversation): unknown[] => messages.map(({ content }) => content);

describe('turns', () => {
  const long = chat('a', 'A', 'b', 'B', 'c', 'C');

  test('an exchange is removed, two exchanges are merged', async () => {
    const [, dropped, merged] = await run([long], createTurnTransform({ methods: ['drop', 'merge'], rate: 1 }));
    expect(dropped && contents(dropped)).toHaveLength(4);
    expect(dropped && contents(dropped).slice(-2)).toEqual(['c', 'C']);
    expect(merged && contents(merged).join('|')).toMatch(/^(a\nb\|A\nB\|c\|C|a\|A\|b\nc\|B\nC)$/);
  });

  test('a column that no conversation has is reported, if it was chosen', async () => {
    const warnings: string[] = [];
    const silent = (): void => {};
    const logger = { debug: silent, info: silent, warn: (text: string) => void warnings.push(text), error: silent };
    const about = { ...chat('a', 'A'), columns: { topic: 'x' } };
    const joining = (column: string, isSet: boolean): Promise<Conversation[]> =>
      run([about], createTurnTransform({ methods: ['join'], column }, { logger, isSet: () => isSet }));
    await joining('topik', true);
    expect(warnings).toEqual([
      'The option column of augment-turns has no effect: no conversation of the data has the column "topik" ' +
        '(found: "topic"). Did you mean \'topic\'?',
    ]);
    await joining('topic', true);
    await joining('topik', false);
    expect(warnings).toHaveLength(1);
  });

  test('single exchanges of one topic are joined', async () => {
    const about = (topic: string, question: string) => ({
      ...chat(question, question.toUpperCase()),
      columns: { topic },
    });
    const result = await run(
      [about('x', 'a'), about('y', 'b'), about('x', 'c'), about('x', 'c'), about('x', 'd')],
      createTurnTransform({ methods: ['join'], turns: 3 }),
    );
    const joined = result.filter(({ columns }) => columns?.['augmentation'] === 'turns');
    expect(joined.map(contents)).toEqual([['a', 'A', 'c', 'C', 'd', 'D']]);
    expect(joined[0]?.origin).toMatchObject({ line: 5, others: [{ line: 1 }, { line: 3 }] });
    expect(joined[0] && formatOrigin(joined[0].origin)).toBe('memory.jsonl:1 + memory.jsonl:3 + memory.jsonl:5');
  });

  test('exchanges of different languages, system messages or tools are not joined', async () => {
    const about = (question: string, answer: string, extra: Partial<Conversation> = {}) => ({
      ...chat(question, answer),
      columns: { topic: 'shop' },
      ...extra,
    });
    const system = { role: 'system', content: 'Be brief.' };
    const tools = [{ type: 'function', function: { name: 'f', parameters: {} } }] as const;
    const given = [
      about('Where is my parcel?', 'It is on its way to you.'),
      about('我的包裹在哪里？', '您的包裹明天送达。'),
      about('Wo ist mein Paket?', 'Das Paket ist noch nicht da.'),
      { ...about('What are your hours?', 'We are open from nine.'), tools },
      about('Where are you?', 'We are in the old town.', {
        messages: [system, ...chat('Where are you?', 'We are in the old town.').messages],
      }),
      about('How can I pay?', 'How would you like to pay?'),
      about('Can I return the shoes?', 'Yes, you can.'),
    ];
    const result = await run(given, createTurnTransform({ methods: ['join'], turns: 2 }));
    const joined = result.filter(({ columns }) => columns?.['augmentation'] === 'turns');
    expect(joined.map(contents)).toEqual([
      ['Where is my parcel?', 'It is on its way to you.', 'Can I return the shoes?', 'Yes, you can.'],
    ]);
  });

  test('what would make no dialogue is not made', async () => {
    const made = async (method: 'drop' | 'merge', ...texts: string[]) => {
      const [, changed] = await run([chat(...texts)], createTurnTransform({ methods: [method], rate: 1 }));
      return changed ? contents(changed) : null;
    };
    const end = ['Do you sell umbrellas?', 'Yes, in every shop.'];
    const asked = ['My order is late.', 'What is your number?', 'Number 12345.', 'Thank you, I found the order.'];
    // The number would answer a question that nobody has asked.
    expect(await made('drop', ...asked, ...end)).toBeNull();
    expect(await made('merge', ...asked)).toBeNull();
    // "It" and "that" would refer to nothing.
    expect(await made('drop', 'I bought a red lamp.', 'How nice.', 'Is it bright?', 'Very bright.', ...end)).toEqual([
      'I bought a red lamp.',
      'How nice.',
      ...end,
    ]);
    expect(await made('merge', '我买了一盏灯。', '很好。', '它亮吗？', '很亮。')).toBeNull();
    // The lamp would come out of nowhere.
    expect(
      await made('drop', 'You have one lamp.', 'We do.', 'Are you open?', 'We are.', 'Is the lamp red?', 'No.'),
    ).toEqual(['You have one lamp.', 'We do.', 'Is the lamp red?', 'No.']);
    expect(await made('merge', 'Where is the shop?', 'In the old town.', ...end)).toEqual([
      'Where is the shop?\nDo you sell umbrellas?',
      'In the old town.\nYes, in every shop.',
    ]);
  });

  test('of the shipped dialogues: every conversation has one language, and no two questions in a turn', async () => {
    const given = ['en', 'zh'].flatMap((code) =>
      readFileSync(new URL(`../../../../examples/data/chatterbot-${code}.train.jsonl`, import.meta.url), 'utf8')
        .trim()
        .split('\n')
        .map((line, index): Conversation => {
          const { conversation: messages, topic } = JSON.parse(line) as { conversation: Message[]; topic: string };
          return { form: 'chat', messages, columns: { topic, code }, origin: { index } };
        }),
    );
    const known = new Set(given.flatMap(({ messages }) => messages.map((message) => textOf(message))));
    const made = (await run(given, createTurnTransform())).filter(
      ({ columns }) => columns?.['augmentation'] === 'turns',
    );
    expect(made.length).toBeGreaterThan(200);
    for (const { messages, origin } of made) {
      const codes = [origin, ...(origin.others ?? [])].map(({ index }) => given[index]?.columns?.['code']);
      const languages = new Set(messages.map((message) => languageOf(textOf(message))));
      languages.delete('unknown');
      expect(languages.size, JSON.stringify(messages)).toBeLessThanOrEqual(1);
      expect(new Set(codes).size).toBe(1);
      expect(messages.filter((message) => !known.has(textOf(message)))).toEqual([]);
    }
  });
});

describe('paraphrases', () => {
  const reject = (original: string, text: string): string | null =>
    rejectParaphrase(original, text, { ...defaultsOf(paraphraseSchema), protect: ['Acme'] });

  test('are rejected if they change the meaning', () => {
    expect(reject('Where is my parcel from Acme?', 'My parcel from Acme, where is it?')).toBeNull();
    expect(reject('Where is my parcel?', 'where is my parcel')).toBe('unchanged');
    expect(reject('Where is order 1234?', 'Where is my order right now?')).toBe('lost-entity');
    expect(reject('Dear {{name}}, where is it now?', 'Dear Jane, where is it right now?')).toBe('lost-entity');
    expect(reject('Is Acme open today?', 'Is the shop open today?')).toBe('lost-entity');
    expect(reject('Where is my parcel right now?', 'Bananas grow well in warm countries.')).toBe('meaning');
    expect(reject('Where is my parcel?', '我的包裹在哪里，什么时候到呢？')).toBe('language');
    expect(reject('Where is my parcel?', 'No.')).toBe('length');
    expect(
      reject('You can return the shoes within thirty days.', 'You cannot return the shoes within thirty days.'),
    ).not.toBeNull();
    expect(reject('You can return worn shoes to us.', 'You can never return worn shoes to us.')).toBe('meaning');
    expect(reject('鞋子穿过可以退货。', '鞋子穿过不可以退货。')).toBe('meaning');
    expect(reject('鞋子能不能退货？', '请问可以退鞋子的货吗？')).toBeNull();
    expect(reject('The parcel will not arrive today.', "Today the parcel won't arrive.")).toBeNull();
    expect(reject('我的包裹什么时候能到？', '包裹什么时候可以送到我这里？')).toBeNull();
  });

  let server: Server | undefined;
  afterEach(() => server?.close());

  type Reply =
    | {
        readonly status?: number;
        readonly headers?: Record<string, string>;
        readonly body?: string;
        readonly never?: boolean;
      }
    | string;

  /** Starts a local server that sends the n-th reply to the n-th request, and the last one to all further requests. */
  async function serve(
    ...replies: readonly Reply[]
  ): Promise<{ endpoint: string; requests: { prompt: string; at: number; authorization: string | undefined }[] }> {
    const requests: { prompt: string; at: number; authorization: string | undefined }[] = [];
    server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk) => (body += String(chunk)));
      request.on('end', () => {
        const prompt = (JSON.parse(body) as { messages: { content: string }[] }).messages[0]?.content ?? '';
        requests.push({ prompt, at: performance.now(), authorization: request.headers.authorization });
        const reply = replies[Math.min(requests.length, replies.length) - 1] ?? '';
        if (typeof reply === 'string') response.end(JSON.stringify({ choices: [{ message: { content: reply } }] }));
        else if (reply.never !== true) response.writeHead(reply.status ?? 200, reply.headers).end(reply.body);
      });
    });
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    return { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, requests };
  }

  const asked = chat('Where is my parcel?', 'On its way.');
  const answered = [
    ['Where is my parcel?', 'On its way.'],
    ['My parcel, where is it?', 'On its way.'],
  ];

  test.each<readonly [string, readonly Reply[]]>([
    ['too many requests', [{ status: 429, headers: { 'retry-after': '0' } }]],
    ['server errors', [{ status: 500 }, { status: 503 }]],
    ['a timeout', [{ never: true }]],
    ['a response that is not JSON', [{ body: '<html>starting…</html>' }, { body: '{"choices": [' }]],
    ['a response without text', [{ body: '{"choices": []}' }, { body: 'null' }]],
  ])('are requested again after %s, and read from the cache in the next run', async (_, faults) => {
    const { endpoint, requests } = await serve(...faults, 'My parcel, where is it?');
    const options = { endpoint, model: 'm', cacheFolder: temporaryFolder(), pauseSeconds: 0.01, timeoutSeconds: 0.5 };
    const result = await run([asked], createParaphraseTransform(options));
    expect(result.map(contents)).toEqual(answered);
    expect(requests).toHaveLength(faults.length + 1);
    expect(await run([asked], createParaphraseTransform(options))).toEqual(result);
    expect(requests).toHaveLength(faults.length + 1);
  });

  test('fail with the reason after the configured number of attempts; earlier answers stay in the cache', async () => {
    const { endpoint, requests } = await serve('My parcel, where is it?', { status: 500 });
    const cacheFolder = temporaryFolder();
    const both = [asked, chat('Is the shop open?', 'Yes.')];
    const transform = (): DataTransform =>
      createParaphraseTransform({ endpoint, model: 'm', cacheFolder, pauseSeconds: 0.01, attempts: 3 });
    await expect(run(both, transform())).rejects.toMatchObject({
      code: 'PLUGIN_FAILED',
      message: expect.stringMatching(/failed after 3 attempts: 500/) as string,
    });
    expect(requests).toHaveLength(4);
    await expect(run(both, transform())).rejects.toMatchObject({ code: 'PLUGIN_FAILED' });
    expect(requests).toHaveLength(7);
  });

  test.each([301, 302, 303, 307, 308])(
    'are not sent to another host after a redirect with status %i',
    async (status) => {
      const other = await serve('My parcel, where is it?');
      const elsewhere = server;
      const target = `${other.endpoint.replace('//', '//user:secret@')}?key=secret`;
      const { endpoint, requests } = await serve({ status, headers: { location: target } });
      const failed: unknown = await run(
        [asked],
        createParaphraseTransform({ endpoint, model: 'm', cacheFolder: temporaryFolder(), pauseSeconds: 0.01 }),
      ).catch((error: unknown) => error);
      elsewhere?.close();
      expect(failed).toMatchObject({
        code: 'PLUGIN_FAILED',
        message: expect.stringContaining(`redirects to ${other.endpoint}, which is not followed`) as string,
      });
      expect(String(failed)).not.toContain('secret');
      expect(requests).toHaveLength(1);
      expect(other.requests).toHaveLength(0);
    },
  );

  test('read at most 16 MiB of a response', async () => {
    const { endpoint, requests } = await serve({ body: 'x'.repeat(17 * 1024 * 1024) });
    await expect(
      run([asked], createParaphraseTransform({ endpoint, model: 'm', cacheFolder: temporaryFolder() })),
    ).rejects.toMatchObject({ message: expect.stringContaining('longer than 17 MB') as string });
    expect(requests).toHaveLength(1);
  });

  test('send credentials of the URL as a header and never print them', async () => {
    const { endpoint, requests } = await serve({ status: 401 });
    const failed: unknown = await run(
      [asked],
      createParaphraseTransform({
        endpoint: `${endpoint.replace('//', '//user:p%40ss@')}?key=secret`,
        model: 'm',
        cacheFolder: temporaryFolder(),
      }),
    ).catch((error: unknown) => error);
    // RFC 7617: the base64 of user:p@ss.
    expect(requests[0]?.authorization).toBe('Basic dXNlcjpwQHNz');
    expect(failed).toMatchObject({ message: expect.stringContaining(`model at ${endpoint} failed`) as string });
    expect(String(failed)).not.toMatch(/secret|p%40ss|p@ss/);
  });

  test('wait for the time in Retry-After, and longer after each attempt', async () => {
    const { endpoint, requests } = await serve(
      { status: 429, headers: { 'retry-after': '1' } },
      { status: 500 },
      { status: 500 },
      'My parcel, where is it?',
    );
    await run(
      [asked],
      createParaphraseTransform({ endpoint, model: 'm', cacheFolder: temporaryFolder(), pauseSeconds: 0.1 }),
    );
    const pauses = requests.slice(1).map(({ at }, index) => at - (requests[index]?.at ?? 0));
    // Lower bounds hold on a busy machine, too; timers may fire slightly early.
    for (const [index, least] of [1000, 200, 400].entries()) expect(pauses[index]).toBeGreaterThan(least - 20);
  });

  test('are translated to another language and back, with the API key from the environment', async () => {
    process.env['WHETSTONE_TEST_KEY'] = 'secret';
    const { endpoint, requests } = await serve('Wo ist mein Paket?', 'My parcel, where is it?');
    const result = await run(
      [asked],
      createParaphraseTransform({
        endpoint,
        model: 'm',
        cacheFolder: temporaryFolder(),
        method: 'back-translation',
        apiKeyVariable: 'WHETSTONE_TEST_KEY',
      }),
    );
    delete process.env['WHETSTONE_TEST_KEY'];
    expect(result.map(contents)).toEqual(answered);
    expect(result[1]).toMatchObject({ origin: { line: 1 }, columns: { augmentation: 'paraphrase' } });
    expect(requests.map(({ prompt }) => prompt)).toEqual([
      expect.stringMatching(/into German.*Where is my parcel\?/s),
      expect.stringMatching(/into English.*Wo ist mein Paket\?/s),
    ]);
    expect(requests[0]?.authorization).toBe('Bearer secret');
  });

  test('are written by a local model, which is loaded if needed and disposed of at the end', async () => {
    const log: string[] = [];
    const openGenerator: PluginContext['openGenerator'] = async (model) => {
      log.push(`open ${model}`);
      return {
        generate: async (prompt) => (
          log.push(prompt.includes('Where is my parcel?') ? 'asked' : prompt),
          'My parcel, where is it?'
        ),
        dispose: () => void log.push('closed'),
      };
    };
    const transform = createParaphraseTransform(
      { endpoint: null, model: 'smollm2-135m', cacheFolder: temporaryFolder() },
      { openGenerator },
    );
    expect((await run([asked], transform)).map(contents)).toEqual(answered);
    expect(log).toEqual(['open smollm2-135m', 'asked', 'closed']);
    expect((await run([asked], transform)).map(contents)).toEqual(answered);
    expect(log).toHaveLength(3);
    await expect(
      run([asked], createParaphraseTransform({ endpoint: null, model: 'm', cacheFolder: temporaryFolder() })),
    ).rejects.toMatchObject({ code: 'PLUGIN_FAILED' });
  });

  test('that change the meaning are counted and rejected; an unauthorized request fails at once', async () => {
    const ask = (): Promise<string> => Promise.resolve('Bananas grow in warm countries.');
    const transform = createParaphraseTransform(
      { endpoint: 'http://unused', model: 'm', cacheFolder: 'unused' },
      { ask },
    );
    expect(await run([chat('Where is my parcel?', 'On its way.')], transform)).toHaveLength(1);
    expect(transform.report.changed).toMatchObject({ 'rejected: meaning': 1 });

    server = createServer((_request, response) => response.writeHead(401).end());
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await expect(
      run([chat('a b c', 'd')], createParaphraseTransform({ endpoint, model: 'm', cacheFolder: temporaryFolder() })),
    ).rejects.toMatchObject({ code: 'PLUGIN_FAILED' });
  });
});
