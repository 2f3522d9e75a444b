import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { ForwardInput, Json, LanguageModel } from '@whetstone/core/contract';
import type { FlashAttentionSupport } from '@whetstone/core/ops/internal';
import { createRandomModel } from '../random-model.js';

/**
 * Models on a backend that claims to have cuDNN's attention. The kernels here implement the semantics of its
 * documentation with plain loops, which checks the operands that models pass.
 * `packages/backend/src/fused/flash-attention.test.ts` tests cuDNN itself.
 */

let calls = 0;

interface Operand {
  readonly shape: readonly number[];
  readonly values: Float32Array | Int32Array;
}

/**
 * Visits every query of every segment and head: with the offset of the query's features, the offsets of the keys that
 * it sees, and the index of its statistic.
 */
function visitQueries(
  operands: Readonly<Record<string, Operand>>,
  window: number,
  visit: (queryAt: number, keysAt: readonly number[], statistic: number) => void,
): void {
  const { query, key, lengths, queryOffsets, keyOffsets } = operands as Readonly<Record<'query' | 'key', Operand>> &
    Readonly<Partial<Record<'lengths' | 'queryOffsets' | 'keyOffsets', Operand>>>;
  const [rows, length, heads, width] = query.shape as [number, number, number, number];
  const keyHeads = key.shape[2] as number;
  const count = lengths?.values.length ?? rows;
  for (let segment = 0; segment < count; segment++) {
    const size = lengths?.values[segment] ?? length;
    const [fromQuery, fromKey] = [
      queryOffsets?.values[segment] ?? segment * length * heads * width,
      keyOffsets?.values[segment] ?? segment * length * keyHeads * width,
    ];
    for (let at = 0; at < size; at++) {
      for (let head = 0; head < heads; head++) {
        const first = window === 0 ? 0 : Math.max(0, at - window + 1);
        const keysAt = Array.from(
          { length: at - first + 1 },
          (_, other) => fromKey + ((first + other) * keyHeads + Math.floor(head / (heads / keyHeads))) * width,
        );
        visit(fromQuery + (at * heads + head) * width, keysAt, (segment * heads + head) * length + at);
      }
    }
  }
}

const dot = (a: Operand, at: number, b: Operand, other: number, width: number): number => {
  let sum = 0;
  for (let feature = 0; feature < width; feature++)
    sum += (a.values[at + feature] as number) * (b.values[other + feature] as number);
  return sum;
};

function kernel(
  kernelName: string,
  compute: (
    operands: Readonly<Record<string, Operand>>,
    window: number,
    make: (shape: readonly number[], values: Float32Array) => tf.TensorInfo,
  ) => tf.TensorInfo[],
): tf.KernelConfig {
  return {
    kernelName,
    backendName: 'cpu',
    kernelFunc: ({ inputs, attrs, backend }) => {
      calls++;
      const cpu = backend as tf.KernelBackend & {
        makeTensorInfo(shape: number[], dtype: 'float32', values: Float32Array): tf.TensorInfo;
      };
      const operands = Object.fromEntries(
        Object.entries(inputs).map(([name, info]) => [
          name,
          {
            shape: (info as tf.TensorInfo).shape,
            values: cpu.readSync((info as tf.TensorInfo).dataId) as Float32Array,
          },
        ]),
      );
      return compute(operands, (attrs as { window: number }).window, (shape, values) =>
        cpu.makeTensorInfo([...shape], 'float32', values),
      );
    },
  };
}

const forward = kernel('WhetstoneFlashAttention', (operands, window, make) => {
  const { query, key, value, lengths } = operands as Readonly<Record<string, Operand>> & {
    readonly query: Operand;
    readonly key: Operand;
    readonly value: Operand;
  };
  const [rows, length, heads, width] = query.shape as [number, number, number, number];
  // Elements outside of all segments stay NaN, so that a read of them is noticed.
  const result = new Float32Array(query.values.length).fill(NaN);
  const statistics = new Float32Array(rows * (lengths?.shape[1] ?? 1) * heads * length).fill(NaN);
  visitQueries(operands, window, (queryAt, keysAt, statistic) => {
    const scores = keysAt.map((keyAt) => dot(query, queryAt, key, keyAt, width));
    const logSum = Math.log(scores.reduce((sum, score) => sum + Math.exp(score), 0));
    statistics[statistic] = logSum;
    for (let feature = 0; feature < width; feature++)
      result[queryAt + feature] = keysAt.reduce(
        (sum, keyAt, at) => sum + Math.exp((scores[at] as number) - logSum) * (value.values[keyAt + feature] as number),
        0,
      );
  });
  return [make(query.shape, result), make([rows * (lengths?.shape[1] ?? 1), heads, length], statistics)];
});

const backward = kernel('WhetstoneFlashAttentionGrad', (operands, window, make) => {
  const { gradient, query, key, value, result, statistics } = operands as Readonly<
    Record<'gradient' | 'query' | 'key' | 'value' | 'result' | 'statistics', Operand>
  >;
  const width = query.shape[3] as number;
  const [ofQuery, ofKey, ofValue] = [query, key, value].map(({ values }) => new Float32Array(values.length)) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  visitQueries(operands, window, (queryAt, keysAt, statistic) => {
    const along = dot(gradient, queryAt, result, queryAt, width);
    for (const keyAt of keysAt) {
      const weight = Math.exp(dot(query, queryAt, key, keyAt, width) - (statistics.values[statistic] as number));
      const ofScore = weight * (dot(gradient, queryAt, value, keyAt, width) - along);
      for (let feature = 0; feature < width; feature++) {
        ofQuery[queryAt + feature] =
          (ofQuery[queryAt + feature] as number) + ofScore * (key.values[keyAt + feature] as number);
        ofKey[keyAt + feature] =
          (ofKey[keyAt + feature] as number) + ofScore * (query.values[queryAt + feature] as number);
        ofValue[keyAt + feature] =
          (ofValue[keyAt + feature] as number) + weight * (gradient.values[queryAt + feature] as number);
      }
    }
  });
  return [make(query.shape, ofQuery), make(key.shape, ofKey), make(value.shape, ofValue)];
});

const support = (value: FlashAttentionSupport | null): void =>
  void Object.assign(tf.backend(), { flashAttention: value });

const config: Record<string, Json> = {
  model_type: 'llama',
  vocab_size: 23,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  max_position_embeddings: 64,
  initializer_range: 0.3,
};

const input = (segments: readonly (readonly number[])[]): ForwardInput => {
  const length = segments[0]?.length ?? 0;
  const segmentIds = Int32Array.from(segments.flat());
  const positionIds = segmentIds.map(
    (segment, at) => at - (Math.floor(at / length) * length + segments[Math.floor(at / length)]!.indexOf(segment)),
  );
  return { rows: segments.length, length, ids: segmentIds.map((_, at) => (at * 7 + 3) % 23), segmentIds, positionIds };
};

/** Returns the logits, a weighted sum of them, and the gradients of that sum for all parameters. */
function numbersOf(model: LanguageModel, given: ForwardInput): number[][] {
  for (const variable of model.parameters.values()) variable.trainable = true;
  return tf.tidy(() => {
    const { value, grads } = tf.variableGrads(() => {
      const logits = model.logits(given, 'all');
      return tf.sum(tf.mul(logits, tf.cos(tf.reshape(tf.range(0, logits.size), logits.shape)))) as tf.Scalar;
    }, [...model.parameters.values()]);
    return [
      model.logits(given, 'all'),
      value,
      ...Object.keys(grads)
        .sort()
        .map((name) => grads[name] as tf.Tensor),
    ].map((tensor) => [...tensor.dataSync()]);
  });
}

beforeAll(async () => {
  await tf.setBackend('cpu');
  for (const one of [forward, backward]) tf.registerKernel(one);
});
afterAll(() => {
  support(null);
  for (const { kernelName } of [forward, backward]) tf.unregisterKernel(kernelName, 'cpu');
});
beforeEach(() => {
  calls = 0;
});

const packed = input([
  [1, 1, 1, 2, 2, 3, 3, 3, 0],
  [4, 4, 4, 4, 4, 4, 4, 4, 4],
  [5, 6, 6, 6, 6, 6, 0, 0, 0],
]);
const whole = input([
  [1, 1, 1, 1, 1],
  [2, 2, 2, 2, 2],
]);
const models = {
  llama: config,
  'sliding windows in every other layer': {
    ...config,
    model_type: 'gemma3_text',
    sliding_window: 3,
    sliding_window_pattern: 2,
    query_pre_attn_scalar: 8,
  },
};

for (const [name, modelConfig] of Object.entries(models)) {
  for (const [kind, given] of Object.entries({ 'rows of one segment': whole, 'packed rows': packed })) {
    test(`${name}, ${kind}: logits and gradients equal those of attention without flash kernels`, () => {
      const model = createRandomModel(modelConfig, 5);
      support(null);
      const expected = numbersOf(model, given);
      expect(calls).toBe(0);
      support({ mostFeatures: 128, packed: true });
      const tensors = tf.memory().numTensors;
      const found = numbersOf(model, given);
      // Two forward passes and one backward pass, in two layers.
      expect(calls).toBe(6);
      expect(tf.memory().numTensors).toBe(tensors);
      expect(found.map((values) => values.length)).toEqual(expected.map((values) => values.length));
      found.forEach((values, index) =>
        values.forEach((value, at) => expect(value).toBeCloseTo(expected[index]?.[at] ?? NaN, 3)),
      );
      model.dispose();
    });
  }
}

test('falls back to plain operations if the device does not support the model', () => {
  const cases: readonly (readonly [FlashAttentionSupport, Record<string, Json>, ForwardInput])[] = [
    [{ mostFeatures: 128, packed: false }, config, packed],
    [{ mostFeatures: 4, packed: true }, config, whole],
    [{ mostFeatures: 128, packed: true }, { ...config, head_dim: 6 }, whole],
    [
      { mostFeatures: 128, packed: true },
      { ...config, model_type: 'gemma2', sliding_window: 3, query_pre_attn_scalar: 8 },
      whole,
    ],
  ];
  for (const [value, modelConfig, given] of cases) {
    const model = createRandomModel(modelConfig, 5);
    support(value);
    tf.dispose(model.logits(given, 'all'));
    expect(calls).toBe(0);
    model.dispose();
  }
});

test('falls back to plain operations with keys before those of the row', () => {
  const model = createRandomModel(config, 5);
  support({ mostFeatures: 128, packed: true });
  const prefix = tf.zeros([1, 2, 3, 8]) as tf.Tensor4D;
  for (const site of model.attentionSites) site.setPrefix(() => ({ key: prefix, value: prefix }));
  tf.dispose(model.logits(whole, 'all'));
  expect(calls).toBe(0);
  prefix.dispose();
  model.dispose();
});
