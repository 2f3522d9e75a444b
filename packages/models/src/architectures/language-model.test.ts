import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { isWhetstoneError, type ForwardInput, type Json, type LanguageModel } from '@whetstone/core/contract';
import { createRandomModel } from '../random-model.js';
import { distinctTokens } from './distinct-tokens.js';

/** Small models that cover windows, two rotary bases, soft caps and learned positions. */
const common: Record<string, Json> = {
  vocab_size: 23,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 6,
  max_position_embeddings: 64,
  initializer_range: 0.3,
  query_pre_attn_scalar: 5,
  sliding_window: 3,
};
const configs: Record<string, Record<string, Json>> = {
  llama: { ...common, model_type: 'llama' },
  mistral: { ...common, model_type: 'mistral' },
  phi3: { ...common, model_type: 'phi3', partial_rotary_factor: 0.67 },
  gemma2: { ...common, model_type: 'gemma2' },
  gemma3: { ...common, model_type: 'gemma3_text', sliding_window_pattern: 2 },
  gpt2: {
    model_type: 'gpt2',
    vocab_size: 23,
    n_embd: 16,
    n_head: 4,
    n_layer: 2,
    n_positions: 64,
    initializer_range: 0.3,
    scale_attn_by_inverse_layer_idx: true,
  },
};

const models: LanguageModel[] = [];
const modelOf = (config: Record<string, Json>): LanguageModel => {
  const model = createRandomModel(config, 5);
  models.push(model);
  return model;
};
afterEach(() => {
  for (const model of models.splice(0)) model.dispose();
});
beforeAll(async () => {
  await tf.setBackend('cpu');
});

const row = (ids: number[], segments = ids.map(() => 1), positions = ids.map((_, at) => at)): ForwardInput => ({
  rows: 1,
  length: ids.length,
  ids: Int32Array.from(ids),
  segmentIds: Int32Array.from(segments),
  positionIds: Int32Array.from(positions),
});
const allLogits = (model: LanguageModel, input: ForwardInput): number[][] =>
  tf.tidy(() => model.logits(input, 'all').arraySync());
const expectClose = (found: readonly (readonly number[])[], expected: readonly (readonly number[])[]): void => {
  expect(found.length).toBe(expected.length);
  for (const [at, line] of expected.entries())
    for (const [id, value] of line.entries()) expect(found[at]?.[id] ?? NaN).toBeCloseTo(value, 4);
};

const ids = [3, 17, 9, 22, 0, 5, 11, 8, 8, 2];

describe.each(Object.entries(configs))('%s', (_, config) => {
  it('computes the same logits with a cache as in one pass', () => {
    const model = modelOf(config);
    const expected = allLogits(model, row(ids));
    const before = tf.memory().numTensors;
    const cache = model.createCache(1);
    const chunks = [ids.slice(0, 4), [ids[4] ?? 0], ids.slice(5, 8), ids.slice(8, 9), ids.slice(9)];
    let read = 0;
    for (const chunk of chunks) {
      const logits = model.decode([{ slot: 0, ids: chunk }], cache);
      read += chunk.length;
      expect(cache.lengths).toEqual([read]);
      expectClose(logits.arraySync(), [expected[read - 1] ?? []]);
      logits.dispose();
    }
    cache.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('computes slots of a cache as if each were alone, whatever they contained before', () => {
    const model = modelOf(config);
    const [first, second] = [ids, [7, 4, 4, 19, 20, 1]];
    const before = tf.memory().numTensors;
    const cache = model.createCache(1);
    // Longer than what follows, so that unused keys remain behind it.
    model.read([{ slot: 0, ids: [...second, ...first] }], cache);
    cache.select([0, 0, 0]);
    expect(cache.lengths).toEqual([16, 16, 16]);
    cache.truncate(0, 0);
    cache.truncate(1, second.length - 1);
    cache.truncate(2, 0);
    model.read([{ slot: 2, ids: first.slice(0, 7) }], cache);
    const rows = [
      { slot: 0, ids: [] },
      { slot: 1, ids: second.slice(-1) },
      { slot: 2, ids: first.slice(7) },
    ];
    const [, ofSecond = [], ofFirst = []] = tf.tidy(() => model.decode(rows, cache).arraySync());
    expect(cache.lengths).toEqual([0, second.length, first.length]);
    expectClose([ofFirst], [allLogits(model, row(first)).at(-1) ?? []]);
    expectClose([ofSecond], [allLogits(model, row(second)).at(-1) ?? []]);
    // A copied slot continues as the original.
    cache.select([1, 1]);
    const copies = tf.tidy(() =>
      model
        .decode(
          [
            { slot: 0, ids: [3] },
            { slot: 1, ids: [3] },
          ],
          cache,
        )
        .arraySync(),
    );
    const continued = allLogits(model, row([...second, 3])).at(-1) ?? [];
    expectClose(copies, [continued, continued]);
    cache.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('computes packed segments as if each were alone, whatever the padding contains', () => {
    const model = modelOf(config);
    const [first, second] = [ids.slice(0, 4), ids.slice(4, 9)];
    const packed = row([...first, ...second, 7], [1, 1, 1, 1, 2, 2, 2, 2, 2, 0], [0, 1, 2, 3, 0, 1, 2, 3, 4, 0]);
    const logits = allLogits(model, packed);
    expectClose(logits.slice(0, 9), [...allLogits(model, row(first)), ...allLogits(model, row(second))]);
    expect(logits.flat().every(Number.isFinite)).toBe(true);
  });

  it('selects positions before the head', () => {
    const model = modelOf(config);
    const expected = allLogits(model, row(ids));
    expectClose(
      tf.tidy(() => model.logits(row(ids), Int32Array.from([7, 2])).arraySync()),
      [expected[7] ?? [], expected[2] ?? []],
    );
    const hidden = tf.tidy(() => tf.slice(model.hiddenStates(row(ids), 'all'), [7, 0], [1, -1]));
    expectClose(
      tf.tidy(() => model.head(hidden).arraySync()),
      [expected[7] ?? []],
    );
    hidden.dispose();
  });

  it('computes the same with shared beginnings, skipped tokens and padded rows', () => {
    const model = modelOf(config);
    // Three texts in two rows of nine: the first two share a beginning. No output depends on the last token of each
    // text
    // or on the padding.
    const [first, second, third] = [
      [3, 17, 9, 22, 1],
      [3, 17, 9, 4],
      [3, 5, 11, 8, 2],
    ];
    const packed: ForwardInput = {
      rows: 2,
      length: 9,
      ids: Int32Array.from([...first, ...second, ...third, 7, 7, 7, 7]),
      segmentIds: Int32Array.from([1, 1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0]),
      positionIds: Int32Array.from([0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2, 3, 4, 0, 0, 0, 0]),
    };
    const outputPositions = Int32Array.from([3, 7, 2, 12, 9]);
    // Four tokens of the first text, none of the second (its first three are shared), three of the third.
    expect(distinctTokens(packed, outputPositions)?.cellOf.length).toBe(7);
    const weight = model.linearSites.get([...model.linearSites.keys()][0] ?? '')?.weight as tf.Variable;
    const measured = (logits: () => tf.Tensor): number[][] =>
      tf.tidy(() => {
        const { value, grads } = tf.variableGrads(() => tf.sum(tf.square(logits())) as tf.Scalar, [weight]);
        return [[...logits().dataSync()], [...(grads[weight.name] as tf.Tensor).dataSync()], [...value.dataSync()]];
      });
    weight.trainable = true;
    const apart = measured(() => {
      const [a, b, c] = [first, second, third].map((text) => model.logits(row(text), 'all'));
      return tf.concat(
        [
          [a, 3],
          [b, 2],
          [a, 2],
          [c, 3],
          [c, 0],
        ].map(([logits, at]) => tf.slice(logits as tf.Tensor2D, [at as number, 0], [1, -1])),
        0,
      );
    });
    expectClose(
      measured(() => model.logits(packed, outputPositions)),
      apart,
    );
  });

  it('computes prompt embeddings after a prefix as it computes the tokens of these embeddings', () => {
    const model = modelOf(config);
    const { keyValueHeads, headDim } = model.attentionSites[0] ?? { keyValueHeads: 0, headDim: 0 };
    const key = tf.randomNormal([1, keyValueHeads, 2, headDim], 0, 1, 'float32', 1) as tf.Tensor4D;
    for (const site of model.attentionSites) site.setPrefix(() => ({ key, value: key }));
    const asTokens = allLogits(model, row(ids));
    // Gemma scales the embeddings of tokens, but not those of a prompt.
    const scale = String(config['model_type']).startsWith('gemma') ? Math.sqrt(model.hiddenSize) : 1;
    const prompt = tf.tidy(() => tf.mul<tf.Tensor2D>(tf.gather(model.embeddingSite.weight, ids.slice(0, 3)), scale));
    model.embeddingSite.setPromptEmbeddings(() => prompt);
    expectClose(allLogits(model, row(ids.slice(3))), asTokens.slice(3));
    tf.dispose([key, prompt]);
  });

  it('computes the same with a cache after a prefix and prompt embeddings', () => {
    const model = modelOf(config);
    const { keyValueHeads, headDim } = model.attentionSites[0] ?? { keyValueHeads: 0, headDim: 0 };
    const key = tf.randomNormal([1, keyValueHeads, 2, headDim], 0, 1, 'float32', 1) as tf.Tensor4D;
    for (const site of model.attentionSites) site.setPrefix(() => ({ key, value: key }));
    const prompt = tf.randomNormal([3, model.hiddenSize], 0, 1, 'float32', 2) as tf.Tensor2D;
    const plain = allLogits(model, row(ids));
    model.embeddingSite.setPromptEmbeddings(() => prompt);
    const expected = allLogits(model, row(ids));
    expect(expected.length).toBe(ids.length);
    expect(expected).not.toEqual(plain);
    const cache = model.createCache(1);
    model.read([{ slot: 0, ids: ids.slice(0, 6) }], cache);
    const logits = model.decode([{ slot: 0, ids: ids.slice(6) }], cache);
    expectClose(logits.arraySync(), [expected[9] ?? []]);
    cache.dispose();
    tf.dispose([key, prompt, logits]);
    for (const site of model.attentionSites) site.setPrefix(null);
    model.embeddingSite.setPromptEmbeddings(null);
  });
});

describe('linear sites', () => {
  it('wraps nest and replaced weights are restored in any order', () => {
    const model = modelOf(configs['llama'] ?? {});
    const before = allLogits(model, row(ids));
    const site = model.linearSites.get('model.layers.0.mlp.up_proj');
    if (site === undefined) throw new Error('the site does not exist');
    const [doubling, adding] = [
      site.wrap((base) => (x) => tf.mul(base(x), 2)),
      site.wrap((base) => (x) => tf.add(base(x), 1)),
    ];
    const both = allLogits(model, row(ids));
    doubling();
    const added = allLogits(model, row(ids));
    expect(added).not.toEqual(both);
    adding();
    expect(allLogits(model, row(ids))).toEqual(before);
    const weight = tf.zerosLike(site.weight) as tf.Tensor2D;
    const restore = site.replaceWeight(() => weight);
    expect(allLogits(model, row(ids))).not.toEqual(before);
    restore();
    restore();
    expect(allLogits(model, row(ids))).toEqual(before);
    weight.dispose();
  });

  it('replaces an untied head without touching the embedding', () => {
    const model = modelOf({ ...configs['llama'], tie_word_embeddings: true });
    const head = model.linearSites.get('lm_head');
    expect(head?.weight).toBe(model.embeddingSite.weight);
    expect(model.parameters.has('lm_head.weight')).toBe(false);
    const zeros = tf.zerosLike(model.embeddingSite.weight) as tf.Tensor2D;
    const restore = head?.replaceWeight(() => zeros);
    expect(
      allLogits(model, row(ids))
        .flat()
        .every((value) => value === 0),
    ).toBe(true);
    restore?.();
    zeros.dispose();
  });
});

describe('invalid input', () => {
  const codeOf = (run: () => unknown): string => {
    try {
      run();
    } catch (error) {
      return isWhetstoneError(error) ? error.code : String(error);
    }
    return 'nothing';
  };
  it('is rejected', () => {
    const model = modelOf(configs['gpt2'] ?? {});
    expect(codeOf(() => allLogits(model, row([3, 99])))).toBe('TOKENIZER_INVALID');
    expect(codeOf(() => allLogits(model, row([3, 4], [1, 1], [0, 64])))).toBe('CONTEXT_EXCEEDED');
    expect(codeOf(() => allLogits(model, { ...row([3, 4]), length: 3 }))).toBe('INTERNAL');
  });
});
