import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Json, LanguageModel, Strategy } from '@whetstone/core/contract';
import { writeTrained } from '@whetstone/core/checkpoint';
import { writeSafetensors } from '@whetstone/core/safetensors';
import { loadLanguageModel } from '@whetstone/models';
import { loadAdapter } from '@whetstone/strategies';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { prefixStrategy } from '../../packages/strategies/src/prompt/p-tuning-v2.js';
import { qloraStrategy } from '../../packages/strategies/src/qlora/qlora.js';
import { createFrom } from '@whetstone/testing';
import { loraFa } from '../../examples/custom-strategy/index.js';
import { lnTuning } from '../../examples/ln-tuning/index.js';
import { useBackend } from '../support/backend.js';
import { goldenPath } from '../support/golden.js';
import { expectNoLeak, forwardInputOf, largestDifference, readTensorFile, unmasked } from '../support/model-numbers.js';

const python = process.env['WHETSTONE_PEER_PYTHON'];
if (python === undefined)
  console.warn(
    'Adapters are not exchanged with PEFT itself: set WHETSTONE_PEER_PYTHON to a python that has torch, ' +
      'transformers and peft.',
  );

const rows = {
  input_ids: [
    [5, 17, 3, 42, 8, 61, 12],
    [9, 30, 77, 2, 11, 0, 0],
  ],
  attention_mask: [
    [1, 1, 1, 1, 1, 1, 1],
    [1, 1, 1, 1, 1, 0, 0],
  ],
};
const tolerance = 1e-4;

/** Asks PEFT all questions in one process. */
function ask(requests: readonly object[]): Promise<readonly (readonly number[])[]> {
  return new Promise((resolve, reject) => {
    const script = fileURLToPath(new URL('../support/peft_peer.py', import.meta.url));
    const child = execFile(
      python ?? '',
      [script],
      { maxBuffer: 1 << 28, env: { ...process.env, HF_HUB_OFFLINE: '1' } },
      (error, stdout, stderr) => {
        if (error === null) resolve(JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as number[][]);
        else reject(new Error(stderr, { cause: error }));
      },
    );
    child.stdin?.end(JSON.stringify(requests));
  });
}

const lnTuningStrategy = await createFrom(lnTuning, {});
const loraFaStrategy = await createFrom(loraFa, { rank: 2 });

const cases: readonly { readonly name: string; readonly base: 'llama' | 'gpt2'; readonly strategy: Strategy }[] = [
  { name: 'lora', base: 'llama', strategy: loraStrategy({ rank: 3 }) },
  { name: 'the norms of llama, by a plugin', base: 'llama', strategy: lnTuningStrategy },
  { name: 'the norms of gpt2, by a plugin', base: 'gpt2', strategy: lnTuningStrategy },
  { name: 'lora with a frozen A, by a plugin', base: 'llama', strategy: loraFaStrategy },
  { name: 'lora with a frozen A on gpt2, by a plugin', base: 'gpt2', strategy: loraFaStrategy },
  {
    name: 'lora with norms, embeddings and head',
    base: 'llama',
    strategy: loraStrategy({ rank: 2, targetModules: ['v_proj'], modulesToSave: ['norm', 'embed_tokens', 'lm_head'] }),
  },
  {
    name: 'lora with patterns',
    base: 'llama',
    strategy: loraStrategy({
      rank: 2,
      useRslora: true,
      rankPattern: { q_proj: 4 },
      alphaPattern: { '1.mlp.up_proj': 3 },
      layersToTransform: [0, 1],
      targetModules: ['q_proj', 'up_proj'],
    }),
  },
  {
    name: 'lora with embeddings of some tokens, and their rows of the head',
    base: 'llama',
    strategy: loraStrategy({ rank: 2, trainableTokenIndices: [5, 77, 30] }),
  },
  {
    name: 'lora with embeddings of some tokens under a tied head',
    base: 'gpt2',
    strategy: loraStrategy({ rank: 2, trainableTokenIndices: [61, 8] }),
  },
  { name: 'dora', base: 'gpt2', strategy: loraStrategy({ rank: 2, useDora: true }) },
  {
    name: 'lora with all biases and a head of its own',
    base: 'gpt2',
    strategy: loraStrategy({ rank: 2, bias: 'all', modulesToSave: ['lm_head'], targetModules: ['c_attn'] }),
  },
  {
    name: "lora with its layers' biases",
    base: 'gpt2',
    strategy: loraStrategy({ rank: 2, bias: 'lora_only', targetModules: ['c_fc'] }),
  },
  { name: 'pissa', base: 'llama', strategy: loraStrategy({ rank: 2, initLoraWeights: 'pissa' }) },
  { name: 'prefixes', base: 'llama', strategy: prefixStrategy({ virtualTokens: 3 }) },
  { name: 'prefixes through an MLP', base: 'gpt2', strategy: prefixStrategy({ virtualTokens: 3, projection: true }) },
  { name: 'virtual tokens', base: 'llama', strategy: prefixStrategy({ virtualTokens: 4, depth: 'input' }) },
];

const made: readonly { readonly name: string; readonly base: 'llama' | 'gpt2'; readonly config: Json }[] = [
  { name: 'all linear layers', base: 'llama', config: { r: 2, target_modules: 'all-linear', task_type: 'CAUSAL_LM' } },
  {
    name: 'embeddings of some tokens',
    base: 'llama',
    config: {
      r: 2,
      target_modules: ['q_proj'],
      trainable_token_indices: { embed_tokens: [3, 42], lm_head: [17] },
      task_type: 'CAUSAL_LM',
    },
  },
  {
    name: 'embeddings of some tokens under a tied head',
    base: 'gpt2',
    config: {
      r: 2,
      target_modules: ['c_attn'],
      trainable_token_indices: { wte: [9, 30] },
      fan_in_fan_out: true,
      task_type: 'CAUSAL_LM',
    },
  },
  {
    name: 'adapted embeddings',
    base: 'llama',
    config: { r: 3, target_modules: ['embed_tokens', 'q_proj'], task_type: 'CAUSAL_LM' },
  },
  {
    name: 'adapted tied embeddings',
    base: 'gpt2',
    config: { r: 2, target_modules: ['wte', 'c_attn'], fan_in_fan_out: true, task_type: 'CAUSAL_LM' },
  },
  {
    name: 'biases and a norm',
    base: 'gpt2',
    config: {
      r: 2,
      target_modules: ['c_proj'],
      bias: 'all',
      modules_to_save: ['ln_f'],
      fan_in_fan_out: true,
      task_type: 'CAUSAL_LM',
    },
  },
  {
    name: 'an adapted head',
    base: 'llama',
    config: { r: 2, target_modules: ['lm_head'], use_dora: true, task_type: 'CAUSAL_LM' },
  },
];

describe.runIf(python !== undefined)('adapters go to PEFT and back', () => {
  let folder = '';
  const models = new Map<string, LanguageModel>();
  const modelOf = (base: string): LanguageModel => {
    const model = models.get(base);
    if (model === undefined) throw new Error(`no model ${base}`);
    return model;
  };
  const logitsOf = (model: LanguageModel): number[] =>
    unmasked(
      tf.tidy(() => model.logits(forwardInputOf(rows), 'all').dataSync()),
      rows.attention_mask,
      model.vocabularySize,
    );
  const expectEqual = (model: LanguageModel, ours: readonly number[], theirs: readonly number[]): void => {
    expect(largestDifference(ours, unmasked(theirs, rows.attention_mask, model.vocabularySize))).toBeLessThanOrEqual(
      tolerance,
    );
  };

  beforeAll(async () => {
    await useBackend('cpu');
    folder = await mkdtemp(join(tmpdir(), 'whetstone-peft-'));
    for (const base of ['llama', 'gpt2']) models.set(base, await loadLanguageModel(goldenPath('models', base)));
  });
  afterAll(async () => {
    for (const model of models.values()) model.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  it('what is saved here loads there and gives the same logits', async () => {
    const ours: number[][] = [];
    const requests: object[] = [];
    await expectNoLeak(async () => {
      for (const [index, { base, strategy }] of cases.entries()) {
        const model = modelOf(base);
        const attachment = await strategy.attach(model, {
          seed: index,
          totalSteps: 1,
          modelFolder: goldenPath('models', base),
        });
        for (const [at, variable] of [...attachment.trainable.values()].entries()) {
          const moved = tf.tidy(() =>
            tf.add(variable, tf.randomNormal(variable.shape, 0, 0.1, 'float32', 100 * index + at)),
          );
          variable.assign(moved as tf.Tensor);
          moved.dispose();
        }
        ours.push(logitsOf(model));
        const adapter = join(folder, `ours-${index}`);
        const exported = attachment.exportAdapter?.();
        if (exported === undefined) throw new Error('no adapter');
        await mkdir(adapter);
        await writeFile(join(adapter, 'adapter_config.json'), JSON.stringify(exported.config, null, 2));
        await writeSafetensors(
          join(adapter, 'adapter_model.safetensors'),
          [...exported.tensors].map(([name, tensor]) => ({
            name,
            dtype: 'F32' as const,
            shape: tensor.shape,
            data: Float32Array.from(tensor.dataSync()),
          })),
        );
        attachment.dispose();
        requests.push({
          do: 'load',
          model: goldenPath('models', base),
          adapter,
          ids: rows.input_ids,
          mask: rows.attention_mask,
        });
      }
    });
    const theirs = await ask(requests);
    for (const [index, { name, base }] of cases.entries()) {
      const model = modelOf(base);
      expect(
        largestDifference(ours[index] ?? [], unmasked(theirs[index] ?? [], rows.attention_mask, model.vocabularySize)),
        name,
      ).toBeLessThanOrEqual(tolerance);
    }
  }, 240_000);

  it.each(['nf4', 'fp4'] as const)(
    'an adapter over a base in %s loads there over the base that its own file describes',
    async (quantType) => {
      const base = goldenPath('qlora', 'model');
      const strategy = await qloraStrategy({ rank: 3, quantType });
      const model = await loadLanguageModel(base, { storage: strategy.storage ?? null });
      const attachment = await strategy.attach(model, { seed: 3, totalSteps: 1, modelFolder: base });
      for (const [at, variable] of [...attachment.trainable.values()].entries()) {
        const moved = tf.tidy(() => tf.add(variable, tf.randomNormal(variable.shape, 0, 0.1, 'float32', at)));
        variable.assign(moved as tf.Tensor);
        moved.dispose();
      }
      const ours = logitsOf(model);
      const adapter = join(folder, quantType);
      await mkdir(adapter);
      await writeTrained(adapter, model, attachment);
      const quantization = JSON.parse(await readFile(join(adapter, 'quantization_config.json'), 'utf8')) as Json;
      const [theirs = []] = await ask([
        { do: 'load', model: base, adapter, quantization, ids: rows.input_ids, mask: rows.attention_mask },
      ]);
      expectEqual(model, ours, theirs);
      attachment.dispose();
      model.dispose();
    },
    240_000,
  );

  it('what is saved there loads here and gives the same logits', async () => {
    const requests = made.map(({ base, config }, index) => ({
      do: 'make',
      seed: index,
      config,
      model: goldenPath('models', base),
      adapter: join(folder, `theirs-${index}`),
      ids: rows.input_ids,
      mask: rows.attention_mask,
    }));
    const theirs = await ask(requests);
    for (const [index, { base, name }] of made.entries()) {
      const model = modelOf(base);
      const adapter = join(folder, `theirs-${index}`);
      const tensors = await readTensorFile(join(adapter, 'adapter_model.safetensors'));
      const loaded = await loadAdapter(model, {
        config: JSON.parse(await readFile(join(adapter, 'adapter_config.json'), 'utf8')) as Json,
        tensors,
      });
      expect(loaded.isActive, name).toBe(true);
      expectEqual(model, logitsOf(model), theirs[index] ?? []);
      loaded.dispose();
      tf.dispose([...tensors.values()]);
    }
  }, 240_000);
});
