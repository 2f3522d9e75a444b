import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSafetensors } from '@whetstone/core/safetensors';
import { loadLanguageModel } from '@whetstone/models';
import type { ForwardInput, LanguageModel } from '@whetstone/core/contract';
import { goldenPath, readGolden } from '../support/golden.js';
import { testBackends, useBackend } from '../support/backend.js';

interface ModelFixture {
  readonly input_ids: number[][];
  readonly attention_mask: number[][];
  readonly labels: number[][];
  readonly target_tokens: number;
  readonly loss_mean: number;
  readonly tolerance: {
    readonly logits_abs: number;
    readonly loss_abs: number;
    readonly grads_abs: number;
    readonly grads_rel_to_tensor_max?: number;
  };
  readonly drift_float32_vs_float64?: { readonly grads_max_abs: number };
  readonly parameter_shapes?: Record<string, number[]>;
}

const inputOf = ({ input_ids: ids, attention_mask: mask }: ModelFixture): ForwardInput => ({
  rows: ids.length,
  length: ids[0]?.length ?? 0,
  ids: Int32Array.from(ids.flat()),
  segmentIds: Int32Array.from(mask.flat()),
  positionIds: Int32Array.from(ids.flatMap((row) => row.map((_, column) => column))),
});

/** Returns the target tokens and the position before each. */
function targetsOf({ labels }: ModelFixture): { positions: Int32Array; targets: Int32Array } {
  const positions: number[] = [];
  const targets: number[] = [];
  const length = labels[0]?.length ?? 0;
  for (const [row, line] of labels.entries()) {
    for (const [column, label] of line.entries()) {
      if (column === 0 || label === -100) continue;
      positions.push(row * length + column - 1);
      targets.push(label);
    }
  }
  return { positions: Int32Array.from(positions), targets: Int32Array.from(targets) };
}

/** Computes the mean cross-entropy of the fixture's target tokens from the formula −log softmax(logits)[target]. */
function meanLoss(model: LanguageModel, fixture: ModelFixture): tf.Scalar {
  const { positions, targets } = targetsOf(fixture);
  const logits = model.logits(inputOf(fixture), positions);
  const chosen = tf.sum(tf.mul(tf.logSoftmax(logits), tf.oneHot(tf.tensor1d(targets, 'int32'), model.vocabularySize)));
  return tf.div(tf.neg(chosen), fixture.target_tokens);
}

const largest = (values: Float32Array): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

const names = readdirSync(goldenPath('models'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name);

it('has fixtures', () => expect(names.length).toBeGreaterThan(0));

describe.each(await testBackends())('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(names)('%s equals transformers', (name) => {
    const fixture = readGolden<ModelFixture>('models', name, 'golden.json');
    const folder = goldenPath('models', name);
    let model: LanguageModel;
    beforeAll(async () => {
      model = await loadLanguageModel(folder);
    });
    afterAll(() => model.dispose());

    it.runIf(fixture.parameter_shapes !== undefined)('in its parameters', () => {
      expect(Object.fromEntries([...model.parameters].map(([parameter, { shape }]) => [parameter, shape]))).toEqual(
        fixture.parameter_shapes,
      );
    });

    it('in its logits', async () => {
      const before = tf.memory().numTensors;
      const logits = tf.tidy(() => model.logits(inputOf(fixture), 'all'));
      const values = (await logits.data()) as Float32Array;
      logits.dispose();
      expect(tf.memory().numTensors).toBe(before);
      const reader = await openSafetensors(join(folder, 'logits.safetensors'));
      const expected = await reader.readFloat32('logits');
      await reader.close();
      expect(values.length).toBe(expected.length);
      const mask = fixture.attention_mask.flat();
      let worst = 0;
      for (const [at, value] of expected.entries()) {
        const difference = Math.abs((values[at] ?? NaN) - value);
        if (mask[Math.floor(at / model.vocabularySize)] === 1)
          worst = Math.max(worst, Number.isNaN(difference) ? Infinity : difference);
      }
      expect(worst).toBeLessThanOrEqual(fixture.tolerance.logits_abs);
      expect(values.every((value) => Number.isFinite(value))).toBe(true);
    });

    it('in its loss and every gradient', async () => {
      const before = tf.memory().numTensors;
      const variables = [...model.parameters.values()];
      for (const variable of variables) variable.trainable = true;
      const { value, grads } = tf.variableGrads(() => meanLoss(model, fixture), variables);
      expect(Math.abs(((await value.data<'float32'>())[0] ?? NaN) - fixture.loss_mean)).toBeLessThanOrEqual(
        fixture.tolerance.loss_abs,
      );
      const reader = await openSafetensors(join(folder, 'grads.safetensors'));
      for (const [parameter, variable] of model.parameters) {
        const expected = await reader.readFloat32(parameter);
        const found = (await grads[variable.name]?.data<'float32'>()) ?? new Float32Array(0);
        expect(found.length, parameter).toBe(expected.length);
        // Relative to the largest gradient of the tensor, but not below a few times the rounding error of the
        // reference.
        const relative = (fixture.tolerance.grads_rel_to_tensor_max ?? Infinity) * largest(expected);
        const limit = Math.min(
          fixture.tolerance.grads_abs,
          Math.max(relative, 4 * (fixture.drift_float32_vs_float64?.grads_max_abs ?? 0)),
        );
        const worst = largest(expected.map((number, at) => number - (found[at] ?? NaN)));
        expect(worst, parameter).toBeLessThanOrEqual(limit);
        expect(
          found.every((number) => Number.isFinite(number)),
          parameter,
        ).toBe(true);
      }
      await reader.close();
      tf.dispose([value, ...Object.values(grads)]);
      expect(tf.memory().numTensors).toBe(before);
    });
  });
});
