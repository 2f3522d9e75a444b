import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import type {
  ChoiceSample,
  Conversation,
  LikelihoodSample,
  LoadedModel,
  Metric,
  MetricAccumulator,
  MetricSample,
  ReplyGenerator,
} from '@whetstone/core/contract';
import { isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import { createBatchSource } from '@whetstone/data';
import { beforeAll, describe, expect, it } from 'vitest';
import { freePort, joinCluster } from '../../packages/core/src/distributed/rendezvous.js';
import { singleWorker } from '../../packages/core/src/distributed/workers.js';
import { evaluate } from '../../packages/core/src/training/evaluate.js';
import { measureMetrics, type MetricEvaluation } from '../../packages/core/src/training/measure-metrics.js';
import { sampleOf } from '../../packages/core/src/training/metric-samples.js';
import { referenceLikelihoods } from '../../packages/core/src/training/reference-likelihoods.js';
import { characterTokenizer, plainRenderer } from '../../packages/data/src/testing/fakes.js';
import { chat, sourceOf } from '../../packages/data/src/testing/sources.js';
import { loadedOf, tinyLlama, tinyModel } from '../support/training.js';

beforeAll(() => tf.setBackend('cpu'));

const backend = { barrier: () => undefined };

/** A model whose tokens are characters, modulo its small vocabulary. */
function characterModel(): LoadedModel {
  const small = (ids: readonly number[]): number[] => ids.map((id) => id % tinyLlama.vocab_size);
  return {
    ...loadedOf(tinyModel()),
    renderer: { ...plainRenderer, stopTokenIds: small(plainRenderer.stopTokenIds) },
    tokenizer: {
      ...characterTokenizer,
      encode: (text) => small(characterTokenizer.encode(text)),
      encodeWithSpans: (text) => {
        const { ids, ...spans } = characterTokenizer.encodeWithSpans(text);
        return { ids: small(ids), ...spans };
      },
    },
  };
}

const conversationsOf = (chats: Parameters<typeof sourceOf>[0]): Conversation[] => [
  ...(sourceOf(chats).conversations() as Conversation[]),
];

/** Numbered questions and answers of different lengths. Every third row is plain text, which has no answer. */
const rows = (count: number): Conversation[] =>
  conversationsOf(
    Array.from({ length: count }, (_, index) =>
      index % 3 === 2
        ? { form: 'text' as const, messages: [{ role: 'assistant', content: 'text' }] }
        : { ...chat(`q${index}`, ` ${'a'.repeat(1 + (index % 4))} `), columns: { topic: index } },
    ),
  );

/** Replies with the question, in angle brackets. Notes the size of each batch. */
const echo =
  (batches: number[] = []): ReplyGenerator =>
  async (_, conversations) => {
    batches.push(conversations.length);
    return conversations.map(({ messages }) => ` <${String(messages.at(-1)?.content)}> `);
  };

/** A metric that notes its samples and returns their number under the name of its need. */
function noting(needs: Metric['needs']) {
  const seen: MetricSample[] = [];
  const metric = {
    needs,
    createAccumulator: () => {
      let count = 0;
      return {
        add: (sample: MetricSample) => {
          count++;
          seen.push(sample);
        },
        result: () => ({ [needs]: count }),
      };
    },
  } as Metric;
  return { seen, metric };
}

const evaluationOf = (
  conversations: readonly Conversation[],
  metrics: readonly Metric[],
  more: Partial<MetricEvaluation> = {},
): MetricEvaluation => ({
  metrics: metrics.map((instance, index) => ({ plugin: `metric-${index}`, instance })),
  conversations: () => conversations,
  replies: { generate: echo(), most: 100, maxNewTokens: 4 },
  batchSize: 2,
  maxLength: null,
  ...more,
});

/** Has no model, so that every forward pass fails. */
const noModel = loadedOf(undefined as never);

describe('measureMetrics', () => {
  it('passes the samples of the data in order: prompt, reference, columns, reply', async () => {
    const [all, answered] = [noting('none'), noting('replies')];
    const values = await measureMetrics(noModel, evaluationOf(rows(8), [all.metric, answered.metric]), { backend });
    expect(values).toEqual({ none: 6, replies: 6 });
    // Rows 2 and 5 are plain text.
    const numbers = [0, 1, 3, 4, 6, 7];
    expect(all.seen).toEqual(
      numbers.map((index) => ({
        conversation: rows(8)[index],
        prompt: [{ role: 'user', content: `q${index}` }],
        references: ['a'.repeat(1 + (index % 4))],
        columns: { topic: index },
      })),
    );
    expect(answered.seen).toEqual(all.seen.map((sample, index) => ({ ...sample, reply: `<q${numbers[index]}>` })));
  });

  it('uses the last text answer of a conversation', () => {
    const [conversation] = conversationsOf([chat('one', 'first', 'two', 'second', 'three')]);
    expect(sampleOf(conversation as Conversation)).toMatchObject({
      prompt: ['one', 'first', 'two'].map((content) => ({ content })),
      references: ['second'],
      columns: {},
    });
  });

  it('generates only the replies that a metric receives, in batches', async () => {
    const batches: number[] = [];
    const [all, answered] = [noting('none'), noting('replies')];
    const replies = { generate: echo(batches), most: 5, maxNewTokens: 4 };
    const evaluation = evaluationOf(rows(12), [all.metric, answered.metric], { replies });
    expect(await measureMetrics(noModel, evaluation, { backend })).toEqual({ none: 8, replies: 5 });
    expect(batches).toEqual([2, 2, 1]);
  });

  it('computes nothing if no metric needs it', async () => {
    const evaluation = evaluationOf(rows(4), [noting('none').metric], { replies: null });
    expect(await measureMetrics(noModel, evaluation, { backend })).toEqual({ none: 3 });
  });

  it('generates no reply for log-probabilities', async () => {
    const loaded = characterModel();
    const { metric, seen } = noting('logProbabilities');
    const evaluation = evaluationOf(rows(4), [metric], { replies: null });
    expect(await measureMetrics(loaded, evaluation, { backend })).toEqual({ logProbabilities: 3 });
    const likelihoods = await referenceLikelihoods(loaded, seen, { maxLength: 64, backend });
    for (const [index, sample] of seen.entries()) {
      expect(sample).not.toHaveProperty('reply');
      const [own] = (sample as { readonly likelihoods?: typeof likelihoods }).likelihoods ?? [];
      expect(own?.tokens).toEqual(likelihoods[index]?.tokens);
      // The batches are other ones, so that the sums round differently.
      for (const [at, value] of (own?.logProbabilities ?? []).entries())
        expect(value).toBeCloseTo(likelihoods[index]?.logProbabilities[at] ?? NaN, 5);
    }
    loaded.model.dispose();
  });

  it('reads only as many conversations as the replies need', async () => {
    let read = 0;
    const conversations = function* () {
      for (const row of rows(1000)) {
        read++;
        yield row;
      }
    };
    const replies = { generate: echo(), most: 3, maxNewTokens: 4 };
    await measureMetrics(noModel, evaluationOf([], [noting('replies').metric], { conversations, replies }), {
      backend,
    });
    // Row 2 is plain text.
    expect(read).toBe(4);
  });

  it('holds one batch of samples at a time', async () => {
    let read = 0;
    let seen = 0;
    const ahead: number[] = [];
    const conversations = function* () {
      for (const row of rows(60)) {
        if (row.form === 'chat') read++;
        yield row;
      }
    };
    const metric: Metric = {
      needs: 'none',
      createAccumulator: () => ({ add: () => void ahead.push(read - seen++), result: () => ({}) }),
    };
    await measureMetrics(noModel, evaluationOf([], [metric], { conversations, batchSize: 4 }), { backend });
    expect(seen).toBe(40);
    expect(Math.max(...ahead)).toBe(4);
  });

  it('waits for each sample before the next one', async () => {
    let isWorking = false;
    const overlaps: boolean[] = [];
    const metric: Metric = {
      needs: 'replies',
      createAccumulator: () => ({
        add: async () => {
          overlaps.push(isWorking);
          isWorking = true;
          await new Promise((resolve) => {
            setTimeout(resolve, 1);
          });
          isWorking = false;
        },
        result: async () => ({ working: Number(isWorking) }),
      }),
    };
    expect(await measureMetrics(noModel, evaluationOf(rows(5), [metric]), { backend })).toEqual({ working: 0 });
    expect(overlaps).toEqual([false, false, false, false]);
  });

  it('starts each evaluation with a new accumulator', async () => {
    const evaluation = evaluationOf(rows(8), [noting('none').metric]);
    for (let round = 0; round < 2; round++)
      expect(await measureMetrics(noModel, evaluation, { backend })).toEqual({ none: 6 });
  });

  it('reports each reply as soon as its batch is computed', async () => {
    const events: string[] = [];
    const generate: ReplyGenerator = async (_, conversations) => {
      events.push(`batch of ${conversations.length}`);
      return conversations.map(() => ' yes ');
    };
    const replies = { generate, most: 3, maxNewTokens: 1 };
    await measureMetrics(noModel, evaluationOf(rows(5), [noting('replies').metric], { replies }), {
      backend,
      onSample: ({ reply, sample }) => void (reply !== undefined && events.push(`${reply}: ${sample.references[0]}`)),
    });
    expect(events).toEqual(['batch of 2', 'yes: a', 'yes: aa', 'batch of 1', 'yes: aaaa']);
  });

  it('gives metrics that need choices the likelihood of each, and those of the reference are the same', async () => {
    const loaded = characterModel();
    const conversations = ['left', 'right'].map((content, index) => ({
      ...(conversationsOf([chat(`q${index}`, content)])[0] as Conversation),
      columns: {
        choices: index === 0 ? ['right ', 'left'] : { text: ['left', 'right', 'up'], label: ['A', 'B', 'C'] },
      },
    }));
    const [chosen, own] = [noting('choices'), noting('logProbabilities')];
    const evaluation = evaluationOf(conversations, [chosen.metric, own.metric]);
    await measureMetrics(loaded, { ...evaluation, maxLength: 64 }, { backend });
    const seen = chosen.seen as ChoiceSample[];
    expect(seen.map(({ choices, answer }) => [choices.map(({ text }) => text), answer])).toEqual([
      [['right', 'left'], 1],
      [['left', 'right', 'up'], 1],
    ]);
    for (const [index, { choices, answer }] of seen.entries()) {
      const [reference] = (own.seen[index] as LikelihoodSample).likelihoods;
      const likelihood = choices[answer]?.likelihood;
      expect(likelihood?.tokens).toEqual(reference?.tokens);
      for (const [at, value] of (likelihood?.logProbabilities ?? []).entries())
        expect(value).toBeCloseTo(reference?.logProbabilities[at] ?? NaN, 5);
      expect(new Set(choices.map(({ likelihood: { tokens } }) => [...tokens].join())).size).toBe(choices.length);
    }
    loaded.model.dispose();
  });

  it.each([
    ['none', {}],
    ['one', { choices: ['a'] }],
    ['no texts', { choices: ['a', 3] }],
    ['choices without the answer', { choices: ['b', 'c'] }],
  ])('refuses a sample with %s for a metric that needs choices, and names its place', async (_, columns) => {
    const [conversation] = conversationsOf([chat('q', 'a')]) as [Conversation];
    const measured = measureMetrics(noModel, evaluationOf([{ ...conversation, columns }], [noting('choices').metric]), {
      backend,
    });
    await expect(measured).rejects.toMatchObject({
      code: 'DATA_UNREADABLE',
      place: { file: conversation.origin.file },
      expected: expect.stringContaining('one of which is the answer "a"') as string,
    });
  });

  /** The sum of the lengths of the references, and the number of samples. */
  const lengths = (statistics: (reference: string) => unknown): Metric => ({
    needs: 'none',
    additive: {
      statistics: ({ references: [reference] }) => statistics(reference) as number[],
      numbers: ([sum = 0, count = 0]) => ({ length: sum / count }),
    },
    createAccumulator: () => expect.fail('An additive metric needs no accumulator.'),
  });

  it('adds up the statistics of an additive metric, and reports those of each sample', async () => {
    const seen: unknown[] = [];
    const metrics = [lengths((reference) => [reference.length, 1]), noting('replies').metric];
    const replies = { generate: echo(), most: 2, maxNewTokens: 1 };
    const values = await measureMetrics(noModel, evaluationOf(rows(5), metrics, { replies }), {
      backend,
      onSample: ({ statistics }) => void seen.push(statistics),
    });
    // References of one, two, four and one characters.
    expect(values).toEqual({ length: 8 / 4, replies: 2 });
    expect(seen).toEqual([1, 2, 4, 1].map((length) => [[length, 1], null]));
  });

  it.each([
    ['another count of statistics', (text: string) => (text === 'a' ? [1, 1] : [1])],
    ['no finite number', () => [NaN, 1]],
    ['no list', () => 3],
  ])('names an additive metric that returns %s, and the sample', async (_, statistics) => {
    const measured = measureMetrics(noModel, evaluationOf(rows(5), [lengths(statistics)]), { backend });
    await expect(measured).rejects.toMatchObject({
      code: 'PLUGIN_FAILED',
      message: expect.stringContaining("The statistics of the metric 'metric-0'") as string,
      expected: expect.stringMatching(/a list of (2 )?finite numbers/) as string,
    });
  });

  const never = new Promise<never>(() => undefined);

  it.each<[string, Partial<MetricAccumulator<MetricSample>>, RegExp]>([
    [
      'throws',
      {
        add: () => {
          throw new Error('oops');
        },
      },
      /'metric-0' failed: oops/,
    ],
    ['returns NaN', { result: () => ({ bad: NaN }) }, /'metric-0' returned a value for "bad"/],
    ['hangs at a sample', { add: () => never }, /'metric-0' failed: It did not finish within 0.05 seconds/],
    ['hangs at its result', { result: () => never }, /'metric-0' failed: It did not finish within 0.05 seconds/],
  ])('leaves out a metric that %s, if asked, and computes the others', async (_, change, expected) => {
    const failures: string[] = [];
    const metric: Metric = {
      needs: 'none',
      createAccumulator: () => ({ add: () => undefined, result: () => ({ good: 1 }), ...change }),
    };
    const limits = { secondsPerCall: 0.05, onFailure: ({ message }: Error) => void failures.push(message) };
    const evaluation = evaluationOf(rows(5), [metric, noting('none').metric]);
    expect(await measureMetrics(noModel, evaluation, { backend, limits })).toEqual({ none: 4 });
    expect(failures).toEqual([expect.stringMatching(expected)]);
    // Otherwise the first failure ends the evaluation.
    const ended = measureMetrics(noModel, evaluation, { backend, limits: { secondsPerCall: 0.05 } });
    await expect(ended).rejects.toMatchObject({ code: 'PLUGIN_FAILED', message: failures[0] });
  });

  it('returns null if interrupted, without a result', async () => {
    const controller = new AbortController();
    const generate: ReplyGenerator = async (_, conversations) => {
      controller.abort();
      return conversations.map(() => '');
    };
    const { metric, seen } = noting('replies');
    const replies = { generate, most: 9, maxNewTokens: 1 };
    const { signal } = controller;
    expect(await measureMetrics(noModel, evaluationOf(rows(9), [metric], { replies }), { backend, signal })).toBeNull();
    expect(seen).toEqual([]);
  });

  it('gives several workers the numbers of one; rank 0 sees the same samples in the same order', async () => {
    const addresses = [await freePort('127.0.0.1'), await freePort('127.0.0.1')].map((port) => `127.0.0.1:${port}`);
    const { signal } = new AbortController();
    const joined = await Promise.all(
      addresses.map((_, rank) =>
        joinCluster({ rank, count: 2, addresses }, { timeoutSeconds: 30, settings: {}, signal }),
      ),
    );
    const loaded = characterModel();
    const measure = async (workers = singleWorker) => {
      const noted = [noting('none'), noting('replies'), noting('logProbabilities')];
      const replies = { generate: echo(), most: 5, maxNewTokens: 4 };
      const evaluation = evaluationOf(
        rows(13),
        noted.map(({ metric }) => metric),
        { replies },
      );
      const values = await measureMetrics(loaded, evaluation, { backend, workers });
      return { values, seen: noted.map(({ seen }) => seen) };
    };
    try {
      const one = await measure();
      const [first, second] = await Promise.all(
        joined.map(({ client }, rank) =>
          measure({
            ...singleWorker,
            rank,
            count: 2,
            gather: async (what, mine) => (await client.gather(what, mine)) as (typeof mine)[],
          }),
        ),
      );
      expect(one.values).toEqual({ none: 9, replies: 5, logProbabilities: 9 });
      expect(first).toEqual(one);
      expect(second).toEqual({ values: one.values, seen: [[], [], []] });
    } finally {
      for (const { leave } of joined) leave();
      loaded.model.dispose();
    }
  });
});

describe('a metric that', () => {
  const failing = (accumulator: { readonly add?: () => void; readonly result?: () => unknown }): Metric => ({
    needs: 'none',
    createAccumulator: () => ({ add: () => undefined, result: () => ({}), ...accumulator }) as never,
  });
  const failureOf = (...metrics: readonly Metric[]): Promise<WhetstoneError> =>
    measureMetrics(noModel, evaluationOf(rows(4), metrics), { backend }).then(
      () => expect.fail('The evaluation did not fail.'),
      (error: unknown) => (isWhetstoneError(error) ? error : expect.fail(String(error))),
    );
  const oops = (): never => {
    throw new Error('oops');
  };
  const notFinite = `The metric 'metric-0' returned a value for "b" that is not a finite number.`;
  const noObject = "The result of the metric 'metric-0' is not an object.";

  it.each<[string, readonly Metric[], object]>([
    [
      'throws for a sample',
      [failing({ add: oops })],
      { message: "The metric 'metric-0' failed: oops", place: { file: 'memory.jsonl', line: 1 } },
    ],
    ['throws at the end', [failing({ result: oops })], { message: "The metric 'metric-0' failed: oops" }],
    ['returns NaN', [failing({ result: () => ({ a: 1, b: NaN }) })], { message: notFinite, found: 'NaN' }],
    ['returns Infinity', [failing({ result: () => ({ b: Infinity }) })], { message: notFinite, found: 'Infinity' }],
    ['returns a text', [failing({ result: () => ({ b: '1' }) })], { message: notFinite, found: '"1"' }],
    ['returns no object', [failing({ result: () => 3 })], { message: noObject, found: '3' }],
    ['returns a list', [failing({ result: () => [3] })], { message: noObject, found: 'an array' }],
    [
      'returns a name of another metric',
      [failing({ result: () => ({ b: 1 }) }), failing({ result: () => ({ b: 2 }) })],
      { message: `The metric 'metric-1' reports "b", which is already reported.` },
    ],
    [
      'returns the name of the loss',
      [failing({ result: () => ({ loss: 1 }) })],
      { message: `The metric 'metric-0' reports "loss", which is already reported.` },
    ],
  ])('%s fails the evaluation', async (_, metrics, expected) => {
    expect(await failureOf(...metrics)).toMatchObject({ code: 'PLUGIN_FAILED', ...expected });
  });

  it('throws when an evaluation starts fails it', async () => {
    expect(await failureOf({ needs: 'none', createAccumulator: oops })).toMatchObject({
      code: 'PLUGIN_FAILED',
      message: "The metric 'metric-0' failed: oops",
    });
  });

  it('gets too few replies from the generator fails the evaluation', async () => {
    const replies = { generate: async () => ['only one'], most: 4, maxNewTokens: 1 };
    const measured = measureMetrics(noModel, evaluationOf(rows(4), [noting('replies').metric], { replies }), {
      backend,
    });
    await expect(measured).rejects.toMatchObject({ code: 'PLUGIN_FAILED', expected: '2 replies', found: '1 replies' });
  });

  it('throws an error with a code fails the evaluation with that error', async () => {
    const add = (): never => {
      throw new WhetstoneError('DATA_UNREADABLE', 'The reference is not a number.');
    };
    expect(await failureOf(failing({ add }))).toMatchObject({ code: 'DATA_UNREADABLE' });
  });

  it('gets no sample, because no conversation ends with an answer, fails the evaluation', async () => {
    const text = rows(3).slice(2);
    await expect(measureMetrics(noModel, evaluationOf(text, [failing({})]), { backend })).rejects.toMatchObject({
      code: 'DATA_EMPTY',
    });
  });
});

describe('referenceLikelihoods', () => {
  const samplesOf = (conversations: readonly Conversation[]): MetricSample[] =>
    conversations.flatMap((conversation) => sampleOf(conversation) ?? []);
  /** Returns the ids of the rendered conversation of a sample, without the line end after the answer. */
  const idsOf = ({ tokenizer }: LoadedModel, { conversation }: MetricSample): number[] =>
    tokenizer.encode(plainRenderer.render(conversation.messages).text.slice(0, -1));

  /** Returns the logits before each token from `from` on. */
  function logitsBefore({ model }: LoadedModel, ids: readonly number[], from: number): number[][] {
    const { length } = ids;
    const input = {
      rows: 1,
      length,
      ids: Int32Array.from(ids),
      segmentIds: new Int32Array(length).fill(1),
      positionIds: Int32Array.from(ids.keys()),
    };
    const logits = tf.tidy(() => model.logits(input, 'all').arraySync());
    return logits.slice(from - 1, -1);
  }
  const logSum = (row: readonly number[]): number => Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0));
  /** Returns log softmax of the logits at the tokens from `from` on, in double precision. */
  const expected = (loaded: LoadedModel, ids: readonly number[], from: number): number[] =>
    logitsBefore(loaded, ids, from).map((row, index) => (row[ids[from + index] ?? 0] ?? NaN) - logSum(row));
  const expectClose = (values: Float32Array | undefined, others: readonly number[]): void => {
    expect(values).toHaveLength(others.length);
    for (const [index, other] of others.entries()) expect(values?.[index]).toBeCloseTo(other, 5);
  };

  it.each([
    ['all at once', undefined],
    ['in chunks of three positions', 3 * tinyLlama.vocab_size],
  ])('are log softmax of the logits at the tokens of the answer and of its end, %s', async (_, logitsAtOnce) => {
    const loaded = characterModel();
    const samples = samplesOf(rows(5));
    const before = tf.memory().numTensors;
    const all = await referenceLikelihoods(loaded, samples, { maxLength: 64, backend, logitsAtOnce });
    expect(tf.memory().numTensors).toBe(before);
    expect(all).toHaveLength(4);
    for (const [index, sample] of samples.entries()) {
      const answer = loaded.tokenizer.encode(`${String(sample.conversation.messages[1]?.content)}<eos>`);
      expect([...(all[index]?.tokens ?? [])]).toEqual(answer);
      const ids = idsOf(loaded, sample);
      expectClose(all[index]?.logProbabilities, expected(loaded, ids, ids.length - answer.length));
      const rowsOfLogits = logitsBefore(loaded, ids, ids.length - answer.length);
      const highest = rowsOfLogits.map((row) => Math.max(...row));
      expect([...(all[index]?.mostLikely ?? [])]).toEqual(rowsOfLogits.map((row, at) => row.indexOf(highest[at] ?? 0)));
      expectClose(
        all[index]?.highestLogProbabilities,
        rowsOfLogits.map((row, at) => (highest[at] ?? 0) - logSum(row)),
      );
    }
    loaded.model.dispose();
  });

  it('have the mean of the evaluation loss of the same answers', async () => {
    const loaded = characterModel();
    const samples = samplesOf(rows(8));
    const data = await createBatchSource({
      source: { conversations: () => samples.map(({ conversation }) => conversation), unreadable: [], files: [] },
      ...loaded,
      options: { batchSize: 3, maxLength: 64, lastTurnOnly: true },
    });
    const clock = { now: () => 0, timestamp: () => '' };
    const report = await evaluate({ model: loaded.model, data, backend, clock }, { step: 0, epoch: 0 });
    const likelihoods = await referenceLikelihoods(loaded, samples, { maxLength: 64, backend });
    const values = likelihoods.flatMap(({ logProbabilities }) => [...logProbabilities]);
    expect(values).toHaveLength(report?.supervisedTokens ?? NaN);
    expect(-values.reduce((sum, value) => sum + value, 0) / values.length).toBeCloseTo(report?.loss ?? NaN, 5);
    loaded.model.dispose();
  });

  it('leave out the first tokens of a conversation that is too long', async () => {
    const loaded = characterModel();
    const samples = samplesOf(conversationsOf([chat('a long question', 'no'), chat('q', 'x'.repeat(20))]));
    const [short, long] = await referenceLikelihoods(loaded, samples, { maxLength: 8, backend });
    const [shortIds = [], longIds = []] = samples.map((sample) => idsOf(loaded, sample).slice(-8));
    // Two letters and the end of the turn.
    expect([...(short?.tokens ?? [])]).toEqual(shortIds.slice(5));
    expectClose(short?.logProbabilities, expected(loaded, shortIds, 5));
    // Nothing precedes the first of the eight tokens, so that it has no probability.
    expect([...(long?.tokens ?? [])]).toEqual(longIds.slice(1));
    expectClose(long?.logProbabilities, expected(loaded, longIds, 1));
    loaded.model.dispose();
  });

  it('are empty if the template does not write the answer', async () => {
    const loaded = characterModel();
    const drops = { ...loaded, renderer: { ...plainRenderer, render: () => ({ text: 'q', turns: [null, null] }) } };
    const [likelihood] = await referenceLikelihoods(drops, samplesOf(rows(1)), { maxLength: 8, backend });
    expect(likelihood).toEqual({
      tokens: new Int32Array(),
      logProbabilities: new Float32Array(),
      mostLikely: new Int32Array(),
      highestLogProbabilities: new Float32Array(),
    });
    loaded.model.dispose();
  });
});
