import { readdirSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Attachment, Json, LanguageModel, AdapterFiles } from '@whetstone/core/contract';
import { loadLanguageModel } from '@whetstone/models';
import { loadAdapter, mergeAdapter } from '@whetstone/strategies';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { prefixStrategy } from '../../packages/strategies/src/prompt/p-tuning-v2.js';
import { readFields } from '../../packages/strategies/src/adapters/adapter-files.js';
import { loraOptionsOf } from '../../packages/strategies/src/lora/from-peft.js';
import { testBackends, useBackend } from '../support/backend.js';
import { goldenPath, readGolden } from '../support/golden.js';
import {
  expectNoLeak,
  forwardInputOf,
  largestDifference,
  meanLossOf,
  readTensorFile,
  unmasked,
  type LabelledRows,
} from '../support/model-numbers.js';

interface Fixture extends LabelledRows {
  readonly base_model: string;
  readonly loss_mean: number;
  readonly tolerance: {
    readonly logits_abs: number;
    readonly loss_abs: number;
    readonly grads_abs: number;
    readonly grads_rel_to_tensor_max: number;
    readonly merged_logits_abs: number;
  };
  readonly merged_changed_parameters?: readonly string[];
}

const names = readdirSync(goldenPath('peft'));

/** Attaches the strategy that trains this type of adapter; null for types that can only be read. */
async function attachAs(model: LanguageModel, files: AdapterFiles): Promise<Attachment | null> {
  const fields = readFields(files);
  const run = { seed: 1, totalSteps: 1, modelFolder: null };
  switch (fields.stringOrNull('peft_type')) {
    case 'LORA':
      return loraStrategy(loraOptionsOf(fields, files)).attach(model, run);
    case 'PREFIX_TUNING': {
      const projection = fields.boolean('prefix_projection', false);
      return prefixStrategy({
        virtualTokens: fields.number('num_virtual_tokens', 0),
        projection,
        encoderHiddenSize: fields.number('encoder_hidden_size', 0),
      }).attach(model, run);
    }
    case 'PROMPT_TUNING':
      return prefixStrategy({ depth: 'input', virtualTokens: fields.number('num_virtual_tokens', 0) }).attach(
        model,
        run,
      );
    default:
      return null;
  }
}

/** Removes `.weight` from names of DoRA's magnitudes in `grads.safetensors`, which the adapter's file does not have. */
const gradientName = (name: string): string => name.replace(/lora_magnitude_vector\.weight$/, 'lora_magnitude_vector');

it('has fixtures', () => expect(names.length).toBeGreaterThan(0));

const cases = (await testBackends()).flatMap((backend) => names.map((name) => ({ backend, name })));

describe.each(cases)('on $backend, $name equals PEFT', ({ backend, name }) => {
  const fixture = readGolden<Fixture>('peft', name, 'golden.json');
  const { tolerance } = fixture;
  let model: LanguageModel;
  let files: AdapterFiles;
  let expected: Map<string, tf.Tensor>;
  beforeAll(async () => {
    await useBackend(backend);
    model = await loadLanguageModel(goldenPath(fixture.base_model));
    files = {
      config: readGolden<Json>('peft', name, 'adapter_config.json'),
      tensors: await readTensorFile(goldenPath('peft', name, 'adapter_model.safetensors')),
    };
    expected = await readTensorFile(goldenPath('peft', name, 'logits.safetensors'));
  });
  afterAll(() => {
    tf.dispose([...files.tensors.values(), ...expected.values()]);
    model.dispose();
  });

  /**
   * Compares the current logits with `key` of the fixture, without the virtual positions that the fixture contains for
   * prompt methods.
   */
  const expectLogits = (key: string, limit: number): void => {
    const { vocabularySize } = model;
    const reference = expected.get(key);
    if (reference === undefined) throw new Error(`no ${key}`);
    const found = tf.tidy(() => model.logits(forwardInputOf(fixture), 'all').dataSync());
    const length = fixture.input_ids[0]?.length ?? 0;
    const virtual = (reference.shape[1] ?? 0) - length;
    const real = tf.tidy(() => tf.slice(reference as tf.Tensor3D, [0, virtual, 0], [-1, length, -1]).dataSync());
    expect(
      largestDifference(
        unmasked(found, fixture.attention_mask, vocabularySize),
        unmasked(real, fixture.attention_mask, vocabularySize),
      ),
    ).toBeLessThanOrEqual(limit);
  };

  /** With virtual tokens before the text, PEFT also predicts labels in column 0; training here never does. */
  const countsFirstColumn = name.startsWith('prompt-tuning') && fixture.labels.some(([first]) => first !== -100);

  /** Compares loss and gradients of `parameters` with the fixture. */
  const expectGradients = (
    parameters: ReadonlyMap<string, tf.Variable>,
    references: ReadonlyMap<string, tf.Tensor>,
  ): void => {
    const { value, grads } = tf.engine().gradients(() => meanLossOf(model, fixture), [...parameters.values()]);
    expect(Math.abs((value.dataSync()[0] ?? NaN) - fixture.loss_mean)).toBeLessThanOrEqual(tolerance.loss_abs);
    const byName = new Map([...references].map(([key, tensor]) => [gradientName(key), tensor.dataSync()] as const));
    for (const [index, key] of [...parameters.keys()].entries()) {
      const reference = byName.get(key) ?? new Float32Array();
      const largest = largestDifference(reference, new Float32Array(reference.length));
      // For gradients above 1, the rounding error of the reference exceeds grads_abs, so only the relative tolerance
      // applies.
      const limit = Math.max(
        1e-7,
        largest > 1
          ? tolerance.grads_rel_to_tensor_max * largest
          : Math.min(tolerance.grads_rel_to_tensor_max * largest, tolerance.grads_abs),
      );
      expect(largestDifference(grads[index]?.dataSync() ?? [], reference), key).toBeLessThanOrEqual(limit);
    }
    tf.dispose([value, ...grads]);
  };

  /**
   * Compares the loss without column 0 with the same sum over the fixture's logits, and the fixture's loss with its
   * logits.
   */
  const expectRestrictedLoss = (): void => {
    const logits = expected.get('logits') as tf.Tensor3D;
    const virtual = (logits.shape[1] ?? 0) - (fixture.input_ids[0]?.length ?? 0);
    const losses = fixture.labels.map((row, at) =>
      row.map((label, column) =>
        label === -100
          ? null
          : tf.tidy(
              () =>
                -(tf.logSoftmax(tf.slice(logits, [at, virtual + column - 1, 0], [1, 1, -1])).dataSync()[label] ?? NaN),
            ),
      ),
    );
    const mean = (values: readonly (number | null)[]): number => {
      const numbers = values.filter((value) => value !== null);
      return numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
    };
    expect(Math.abs(mean(losses.flat()) - fixture.loss_mean)).toBeLessThanOrEqual(tolerance.loss_abs);
    const found = tf.tidy(() => meanLossOf(model, fixture).dataSync()[0] ?? NaN);
    expect(Math.abs(mean(losses.flatMap((row) => row.slice(1))) - found)).toBeLessThanOrEqual(tolerance.loss_abs);
  };

  it('in the logits of the loaded adapter, and restores the base', async () => {
    const base = tf.tidy(() => model.logits(forwardInputOf(fixture), 'all').dataSync());
    await expectNoLeak(async () => {
      const adapter = await loadAdapter(model, files);
      expectLogits('logits', tolerance.logits_abs);
      adapter.setActive(false);
      expect(tf.tidy(() => model.logits(forwardInputOf(fixture), 'all').dataSync())).toEqual(base);
      adapter.setActive(true);
      expectLogits('logits', tolerance.logits_abs);
      adapter.dispose();
    });
    expect(tf.tidy(() => model.logits(forwardInputOf(fixture), 'all').dataSync())).toEqual(base);
  });

  it('in logits, loss and gradients of the strategy, and in the exported folder', async () => {
    const training = await readTensorFile(
      goldenPath(
        'peft',
        name,
        name.startsWith('prefix-projection') ? 'train_params.safetensors' : 'adapter_model.safetensors',
      ),
    );
    const gradients = await readTensorFile(goldenPath('peft', name, 'grads.safetensors'));
    await expectNoLeak(async () => {
      const attachment = await attachAs(model, files);
      if (attachment === null) return;
      try {
        expect([...attachment.trainable.keys()].sort()).toEqual([...training.keys()].sort());
        for (const [key, variable] of attachment.trainable) variable.assign(training.get(key) ?? variable);
        expectLogits('logits', tolerance.logits_abs);

        if (countsFirstColumn) expectRestrictedLoss();
        else expectGradients(attachment.trainable, gradients);

        const exported = attachment.exportAdapter?.();
        const own = { base_model_name_or_path: null, revision: null };
        expect({ ...(exported?.config as object), ...own }).toEqual({ ...(files.config as object), ...own });
        expect([...(exported?.tensors.keys() ?? [])].sort()).toEqual([...files.tensors.keys()].sort());
        for (const [key, tensor] of exported?.tensors ?? []) {
          expect(
            largestDifference(tensor.dataSync(), files.tensors.get(key)?.dataSync() ?? []),
            key,
          ).toBeLessThanOrEqual(name.startsWith('prefix-projection') ? 1e-5 : 0);
        }
      } finally {
        attachment.dispose();
      }
    });
    tf.dispose([...training.values(), ...gradients.values()]);
  });

  it('in the merged weights and their logits', async () => {
    if (!expected.has('merged_logits')) {
      await expect(mergeAdapter(model, files)).rejects.toThrow(/cannot be merged/);
      return;
    }
    const sample = await readTensorFile(goldenPath('peft', name, 'merged_sample.safetensors'));
    await expectNoLeak(async () => {
      const merged = await mergeAdapter(model, files);
      for (const [key, tensor] of sample) {
        expect(
          largestDifference(merged.weights.get(key)?.dataSync() ?? [], tensor.dataSync()),
          key,
        ).toBeLessThanOrEqual(1e-5);
      }
      if (fixture.merged_changed_parameters !== undefined)
        expect([...merged.weights.keys()].sort()).toEqual([...fixture.merged_changed_parameters].sort());
      const undo = [...merged.weights].map(([key, weight]) => putIn(model, key, weight));
      expectLogits('merged_logits', tolerance.merged_logits_abs);
      for (const step of undo) step();
      merged.dispose();
    });
    tf.dispose([...sample.values()]);
  });
});

/** Replaces a weight of the model by a merged one. Returns a function that restores it. */
function putIn(model: LanguageModel, name: string, weight: tf.Tensor): () => void {
  const site = model.linearSites.get(name.replace(/\.weight$/, ''));
  if (site !== undefined) return site.replaceWeight(() => weight as tf.Tensor2D);
  const parameter = model.parameters.get(name);
  if (parameter === undefined) throw new Error(`no parameter ${name}`);
  const before = parameter.clone();
  parameter.assign(weight as tf.Tensor);
  return () => {
    parameter.assign(before as tf.Tensor);
    before.dispose();
  };
}
