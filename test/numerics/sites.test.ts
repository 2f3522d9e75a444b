import { existsSync, readdirSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSafetensors } from '@whetstone/core/safetensors';
import { loadLanguageModel } from '@whetstone/models';
import type { LanguageModel } from '@whetstone/core/contract';
import { goldenPath, readGolden } from '../support/golden.js';
import { testBackends, useBackend } from '../support/backend.js';

/**
 * Applies PEFT's prefix and prompt tuning through the model's sites and compares the logits with the fixtures.
 */
interface PromptFixture {
  readonly base_model: string;
  readonly method: string;
  readonly input_ids: number[][];
  readonly attention_mask: number[][];
  readonly tolerance: { readonly logits_abs: number };
  readonly adapter_config: { readonly num_virtual_tokens: number };
}

const names = existsSync(goldenPath('peft'))
  ? readdirSync(goldenPath('peft')).filter((name) => /^(prefix|prompt)-/.test(name))
  : [];

describe.each(await testBackends())('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(names)('%s', (name) => {
    const fixture = readGolden<PromptFixture>('peft', name, 'golden.json');
    let model: LanguageModel;
    let embeddings: tf.Tensor2D;
    beforeAll(async () => {
      model = await loadLanguageModel(goldenPath(...fixture.base_model.split('/')));
      const reader = await openSafetensors(goldenPath('peft', name, 'adapter_model.safetensors'));
      const [rows = 0, features = 0] = reader.tensors.get('prompt_embeddings')?.shape ?? [];
      embeddings = tf.tensor2d(await reader.readFloat32('prompt_embeddings'), [rows, features]);
      await reader.close();
    });
    afterAll(() => {
      model.dispose();
      embeddings.dispose();
    });

    it('has the logits of PEFT', async () => {
      const virtual = fixture.adapter_config.num_virtual_tokens;
      const isPrompt = name.startsWith('prompt-');
      if (isPrompt) model.embeddingSite.setPromptEmbeddings(() => embeddings);
      for (const site of isPrompt ? [] : model.attentionSites) {
        const part = (index: number): tf.Tensor4D => {
          const views = tf.reshape(embeddings, [virtual, 2 * model.layers, site.keyValueHeads, site.headDim]);
          return tf.transpose(tf.slice(views, [0, index, 0, 0], [virtual, 1, -1, -1]), [1, 2, 0, 3]) as tf.Tensor4D;
        };
        site.setPrefix(() => ({ key: part(2 * site.layer), value: part(2 * site.layer + 1) }));
      }
      const rows = fixture.input_ids.length;
      const length = fixture.input_ids[0]?.length ?? 0;
      const logits = tf.tidy(() =>
        model.logits(
          {
            rows,
            length,
            ids: Int32Array.from(fixture.input_ids.flat()),
            segmentIds: Int32Array.from(fixture.attention_mask.flat()),
            positionIds: Int32Array.from(fixture.input_ids.flatMap((row) => row.map((_, column) => column))),
          },
          'all',
        ),
      );
      const found = await logits.data<'float32'>();
      logits.dispose();
      const reader = await openSafetensors(goldenPath('peft', name, 'logits.safetensors'));
      const expected = await reader.readFloat32('logits');
      const [, columns = 0, vocabulary = 0] = reader.tensors.get('logits')?.shape ?? [];
      await reader.close();
      const ahead = columns - length; // with prompt tuning, the fixture also has logits of virtual tokens
      let worst = 0;
      for (const [row, mask] of fixture.attention_mask.entries()) {
        for (const column of mask.flatMap((one, at) => (one === 1 ? [at] : []))) {
          for (let id = 0; id < vocabulary; id++) {
            const mine = found[(row * length + column) * vocabulary + id] ?? NaN;
            worst = Math.max(
              worst,
              Math.abs(mine - (expected[(row * columns + ahead + column) * vocabulary + id] ?? NaN)),
            );
          }
        }
      }
      expect(worst).toBeLessThanOrEqual(fixture.tolerance.logits_abs);
    });
  });
});
