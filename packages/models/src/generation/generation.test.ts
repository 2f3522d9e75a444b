import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isWhetstoneError, type LanguageModel, type Tokenizer } from '@whetstone/core/contract';
import { createRandomModel } from '../random-model.js';
import { createRandom } from '@whetstone/core/random';
import { drawToken } from './choose-token.js';
import { generateIds, type IdGenerationOptions } from './generate-ids.js';
import { collectText, generateText } from './generate-text.js';
import { Generator } from './generator.js';
import type { GenerationOptions } from './options.js';
import { presenceAndFrequencyPenalty } from './penalties.js';
import { createStopDetector } from './stop-strings.js';

let model: LanguageModel;
beforeAll(async () => {
  await tf.setBackend('cpu');
  model = createRandomModel(
    {
      model_type: 'llama',
      vocab_size: 26,
      hidden_size: 16,
      intermediate_size: 24,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      max_position_embeddings: 24,
      initializer_range: 0.5,
    },
    11,
  );
});
afterAll(() => model.dispose());

/** Letters as ids: a is 0, z is 25. The end token is z. */
const letters: Tokenizer = {
  vocabularySize: 26,
  bosTokenId: null,
  eosTokenId: 25,
  padTokenId: null,
  encode: (text) => [...text].map((letter) => letter.charCodeAt(0) - 97),
  encodeWithSpans: (text) => ({
    ids: letters.encode(text),
    starts: [...text].map((_, at) => at),
    ends: [...text].map((_, at) => at + 1),
  }),
  decode: (ids) => ids.map((id) => String.fromCharCode(97 + id)).join(''),
  tokenId: (token) => token.charCodeAt(0) - 97,
};

async function idsOf(
  prompts: number[][],
  options: IdGenerationOptions,
): Promise<{ ids: number[][]; finishes: (string | null)[] }> {
  const rows = prompts.flatMap((prompt) => Array.from({ length: options.n ?? 1 }, () => prompt));
  const ids = rows.map((): number[] => []);
  const finishes: (string | null)[] = rows.map(() => null);
  for await (const { row, id, finish } of generateIds(model, prompts, options)) {
    ids[row]?.push(id);
    finishes[row] = finish;
  }
  return { ids, finishes };
}

describe('generateIds', () => {
  it('samples the same tokens with the same seed, alone or in a batch', async () => {
    const options: GenerationOptions = { temperature: 1.5, topK: 20, maxNewTokens: 12, seed: 3 };
    const batch = await idsOf([[1, 2, 3], [4]], options);
    expect(batch).toEqual(await idsOf([[1, 2, 3], [4]], options));
    expect(batch.ids[0]).toEqual((await idsOf([[1, 2, 3]], options)).ids[0]);
    expect(batch.ids).not.toEqual((await idsOf([[1, 2, 3], [4]], { ...options, seed: 4 })).ids);
    expect(batch.finishes).toEqual(['length', 'length']);
  });

  it('ends at the end of the context and rejects prompts that leave no room', async () => {
    const prompt = Array.from({ length: 20 }, (_, at) => at);
    expect((await idsOf([prompt], {})).ids[0]?.length).toBe(4);
    for (const [length, code] of [
      [24, 'CONTEXT_EXCEEDED'],
      [0, 'USAGE'],
    ] as const) {
      const error: unknown = await idsOf([Array.from({ length }, () => 1)], {}).catch((cause: unknown) => cause);
      expect(isWhetstoneError(error) && error.code).toBe(code);
    }
  });

  it('stops at a stop token and yields it', async () => {
    const free = (await idsOf([[1, 2, 3]], { maxNewTokens: 6 })).ids[0] ?? [];
    const stop = free[3] ?? -1;
    const { ids, finishes } = await idsOf([[1, 2, 3]], { maxNewTokens: 6, stopTokenIds: [stop] });
    expect(ids[0]).toEqual(free.slice(0, free.indexOf(stop) + 1));
    expect(finishes).toEqual(['stop']);
  });

  it('does not stop before minNewTokens and takes the next likeliest token instead', async () => {
    const free = (await idsOf([[1, 2, 3]], { maxNewTokens: 6 })).ids[0] ?? [];
    const stop = free[0] ?? -1;
    const options = { maxNewTokens: 6, stopTokenIds: [stop] };
    expect((await idsOf([[1, 2, 3]], options)).ids[0]).toEqual([stop]);
    const longer = await idsOf([[1, 2, 3]], { ...options, minNewTokens: 4 });
    expect(longer.ids[0]?.slice(0, 4)).toHaveLength(4);
    expect(longer.ids[0]?.slice(0, 4)).not.toContain(stop);
    await expect(idsOf([[1]], { minNewTokens: 1.5 })).rejects.toMatchObject({ code: 'USAGE', found: '1.5' });
  });

  it('runs timers and signals between tokens on a backend that never yields', async () => {
    const abort = new AbortController();
    setTimeout(() => abort.abort(new Error('enough')), 1);
    // The loop is bounded: without it, the test would never end if timers did not run.
    await expect(
      (async () => {
        const until = performance.now() + 2000;
        while (performance.now() < until)
          for await (const _ of generateIds(model, [[1]], { maxNewTokens: 4 }, abort.signal)) await Promise.resolve();
        throw new Error('no timer ran for two seconds');
      })(),
    ).rejects.toThrow('enough');
  });

  it('reports all options that are out of range together', async () => {
    const refused = generateIds(model, [[1]], { temperature: -1, topP: 2, repetitionPenalty: 0 }).next();
    await expect(refused).rejects.toMatchObject({
      code: 'USAGE',
      problems: [{ found: '-1' }, { found: '2' }, { found: '0' }],
    });
  });

  it('leaks no tensor if it is aborted or ended early', async () => {
    const before = tf.memory().numTensors;
    const abort = new AbortController();
    const aborted = (async () => {
      for await (const _ of generateIds(model, [[1]], { maxNewTokens: 9 }, abort.signal))
        abort.abort(new Error('enough'));
    })();
    await expect(aborted).rejects.toThrow('enough');
    for await (const _ of generateIds(model, [[1]], { maxNewTokens: 9 })) break;
    expect(tf.memory().numTensors).toBe(before);
  });
});

/** Prompts of unlike lengths, and the end of each reply. */
const mixed = [[1, 2, 3], [4], [9, 9, 1, 7, 20, 11, 3, 0, 5], [6, 2], [13, 14, 15, 16, 17], [8, 1, 1], [22]];

/** Returns the likeliest continuation; each token is computed from the complete text, without a cache. */
function greedy(prompt: readonly number[], count: number, language = model): number[] {
  const text = [...prompt];
  for (let step = 0; step < count; step++) {
    const length = text.length;
    const input = {
      rows: 1,
      length,
      ids: Int32Array.from(text),
      segmentIds: new Int32Array(length).fill(1),
      positionIds: Int32Array.from(text.keys()),
    };
    text.push(tf.tidy(() => tf.argMax(language.logits(input, Int32Array.of(length - 1)), 1).dataSync()[0] ?? -1));
  }
  return text.slice(prompt.length);
}

describe('Generator', () => {
  it.each([1, 2, 3, 32])('gives each reply the tokens that it has alone, %i at once', async (batchSize) => {
    const expected = mixed.map((prompt) => greedy(prompt, 8));
    const found = await idsOf(mixed, { maxNewTokens: 8, batchSize });
    expect(found.ids).toEqual(expected);
    expect(found.finishes).toEqual(mixed.map(() => 'length'));
  });

  it('leaves the slot of a finished reply to the next request, whatever its options', async () => {
    const before = tf.memory().numTensors;
    const generator = new Generator(model, { batchSize: 2 });
    const lengths = [2, 7, 3, 1, 4];
    for (const [index, maxNewTokens] of lengths.entries())
      generator.add({ prompt: mixed[index] ?? [], options: { maxNewTokens } });
    const replies = lengths.map((): number[] => []);
    let steps = 0;
    for (; generator.busy; steps++) for (const { request, id } of await generator.step()) replies[request]?.push(id);
    expect(replies).toEqual(lengths.map((length, index) => greedy(mixed[index] ?? [], length)));
    // Two slots share 17 tokens.
    expect(steps).toBeLessThanOrEqual(10);
    generator.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('takes requests while it generates, and drops those that are cancelled', async () => {
    const generator = new Generator(model, { batchSize: 2 });
    const replies = new Map<number, number[]>();
    const step = async (): Promise<void> => {
      for (const { request, id } of await generator.step()) replies.set(request, [...(replies.get(request) ?? []), id]);
    };
    const [first, second, third] = [0, 1, 2].map((index) =>
      generator.add({ prompt: mixed[index] ?? [], options: { maxNewTokens: 6 } }),
    );
    await step();
    generator.cancel(second ?? -1);
    const late = generator.add({ prompt: mixed[3] ?? [], options: { maxNewTokens: 2 } });
    generator.cancel(late);
    const later = generator.add({ prompt: mixed[4] ?? [], options: { maxNewTokens: 3 } });
    while (generator.busy) await step();
    expect(replies.get(first ?? -1)).toEqual(greedy(mixed[0] ?? [], 6));
    expect(replies.get(second ?? -1)).toHaveLength(1);
    expect(replies.get(third ?? -1)).toEqual(greedy(mixed[2] ?? [], 6));
    expect(replies.has(late)).toBe(false);
    expect(replies.get(later)).toEqual(greedy(mixed[4] ?? [], 3));
    generator.dispose();
  });

  it('generates fewer replies at once if the keys and values of more need too much memory', async () => {
    const generator = new Generator(model, { cacheBytes: 1 });
    for (const prompt of mixed) generator.add({ prompt, options: { maxNewTokens: 2 } });
    const counts: number[] = [];
    while (generator.busy) counts.push((await generator.step()).length);
    expect(Math.max(...counts)).toBe(1);
    generator.dispose();
    expect(() => new Generator(model, { batchSize: 0 })).toThrow('batchSize is out of range.');
  });

  it('reads long prompts in chunks, with the rotary frequencies of the complete prompt', async () => {
    const longrope = { type: 'longrope', short_factor: [1, 1, 1, 1], long_factor: [1, 2, 3, 4] };
    const config = { model_type: 'phi3', vocab_size: 26, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 2 };
    const long = createRandomModel(
      {
        ...config,
        num_attention_heads: 1,
        sliding_window: 9,
        max_position_embeddings: 64,
        original_max_position_embeddings: 12,
        rope_scaling: longrope,
        initializer_range: 0.5,
      },
      7,
    );
    const prompts = [30, 3, 16, 5].map((length) => Array.from({ length }, (_, at) => (at * 7 + (at >> 3)) % 26));
    const expected = prompts.map((prompt) => greedy(prompt, 3, long));
    for (const chunkTokens of [1, 4, 512]) {
      const replies = prompts.map((): number[] => []);
      const tokens = generateIds(long, prompts, { maxNewTokens: 3, chunkTokens });
      for await (const { row, id } of tokens) replies[row]?.push(id);
      expect(replies).toEqual(expected);
    }
    long.dispose();
  });

  it('gives several replies to a prompt, the first of them as if it were the only one', async () => {
    const options = { temperature: 1.5, maxNewTokens: 6, seed: 3 };
    const { ids } = await idsOf([[1, 2, 3], [4]], { ...options, n: 3 });
    expect(ids).toHaveLength(6);
    expect(ids[0]).toEqual((await idsOf([[1, 2, 3]], options)).ids[0]);
    expect(new Set(ids.slice(0, 3).map(String)).size).toBe(3);
  });

  it('reports log-probabilities of the model, before options change them', async () => {
    const options = { maxNewTokens: 3, logProbabilities: 4, badWordsIds: [greedy([1, 2, 3], 1)] };
    const found = [];
    for await (const token of generateIds(model, [[1, 2, 3]], options)) found.push(token);
    expect(found).toHaveLength(3);
    const [first] = found;
    expect(first?.alternatives?.top.map(({ id }) => id)[0]).toBe(options.badWordsIds[0]?.[0]);
    expect(first?.alternatives?.top[1]).toEqual({ id: first?.id, logProbability: first?.alternatives?.logProbability });
    const scores = tf.tidy(() => {
      const cache = model.createCache(1);
      const values = tf.logSoftmax(model.decode([{ slot: 0, ids: [1, 2, 3] }], cache)).dataSync();
      cache.dispose();
      return values;
    });
    for (const { id, logProbability } of first?.alternatives?.top ?? [])
      expect(logProbability).toBeCloseTo(scores[id] ?? NaN, 5);
  });
});

describe('generateText', () => {
  it('streams text and ends before a stop string', async () => {
    const generator = { model, tokenizer: letters };
    const [complete = ''] = await collectText(generateText(generator, ['abc'], { maxNewTokens: 10 }), 1);
    expect(complete).toMatch(/^[a-y]{1,10}$/);
    const stop = complete.slice(3, 5);
    const ended = await collectText(
      generateText(generator, ['abc', 'abc'], { maxNewTokens: 10, stopStrings: [stop] }),
      2,
    );
    expect(ended).toEqual([complete.slice(0, complete.indexOf(stop)), complete.slice(0, complete.indexOf(stop))]);
  });
});

describe('stop strings', () => {
  it('are held back until they are complete or impossible', () => {
    const detector = createStopDetector(['END', 'EAT']);
    expect(detector.push('we E')).toEqual({ text: 'we ', stopped: false });
    expect(detector.push('A')).toEqual({ text: '', stopped: false });
    expect(detector.push('R')).toEqual({ text: 'EAR', stopped: false });
    expect(detector.push(' E')).toEqual({ text: ' ', stopped: false });
    expect(detector.push('ND of')).toEqual({ text: '', stopped: true });
    expect(detector.push('xE').text + detector.finish()).toBe('xE');
  });
});

describe('token choice', () => {
  it('applies presence and frequency penalties to generated tokens, not to the prompt', () => {
    const scores = Float32Array.from([1, 1, 1]);
    expect([...presenceAndFrequencyPenalty(0.5, 0.25)(scores, { ids: [0, 1, 2, 2], promptLength: 1 })]).toEqual([
      1, 0.25, 0,
    ]);
  });

  it('samples in proportion to softmax', () => {
    const random = createRandom(1);
    const scores = Float32Array.from([0, Math.log(3), -Infinity]);
    const counts = [0, 0, 0];
    for (let i = 0; i < 4000; i++) counts[drawToken(scores, random)]!++;
    expect(counts[2]).toBe(0);
    expect(counts[1]! / 4000).toBeCloseTo(0.75, 1); // 3 : 1
  });
});
