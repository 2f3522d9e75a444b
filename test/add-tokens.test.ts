import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import '@tensorflow/tfjs-backend-cpu';
import { openSafetensors } from '@whetstone/core/safetensors';
import type { LanguageModel } from '@whetstone/core/contract';
import { loadModel } from '@whetstone/models';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTinyModel, openModel, Trainer } from 'whetstone';
import { useBackend } from './support/backend.js';

const template =
  "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|im_end|>' }}{% " +
  "endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
const addTokens = ['<|user|>', '<|assistant|>', '<|im_end|>'];
const folder = mkdtempSync(join(tmpdir(), 'whetstone-tokens-'));
const model = join(folder, 'model');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

beforeAll(async () => {
  await useBackend('cpu');
  await createTinyModel(model, { hiddenSize: 32, layers: 1 });
  writeFileSync(join(folder, 'template.jinja'), template);
  const rows = ['Where is my parcel?', 'Can I pay later?', 'Is it open?', 'Hello!'].map((question) =>
    JSON.stringify({
      messages: [
        { role: 'user', content: question },
        { role: 'assistant', content: 'Yes.' },
      ],
    }),
  );
  writeFileSync(join(folder, 'train.jsonl'), `${rows.join('\n')}\n`);
});

const trainer = (name: string, more: object = {}, training: object = {}): Trainer =>
  new Trainer(
    {
      model: { path: model, addTokens },
      chatTemplatePath: 'template.jinja',
      backend: 'cpu',
      data: { train: 'train.jsonl' },
      strategy: { use: 'lora', options: { rank: 2 } },
      loggers: [],
      optimizer: { learningRate: 0.01 },
      schedule: 'constant',
      output: { folder: name },
      ...more,
      training: { maxSteps: 4, perDeviceTrainBatchSize: 2, saveStrategy: 'end', ...training },
    },
    { baseFolder: folder },
  );

async function tensorsOf(file: string): Promise<Map<string, Float32Array>> {
  const reader = await openSafetensors(file);
  const tensors = new Map<string, Float32Array>();
  for (const name of reader.tensors.keys()) tensors.set(name, await reader.readFloat32(name));
  await reader.close();
  return tensors;
}

/** Logits of the prompt's last token. */
function logitsOf({ model: language }: { readonly model: LanguageModel }, ids: readonly number[]): Float32Array {
  const cache = language.createCache(1);
  const logits = language.decode([{ slot: 0, ids }], cache);
  const values = logits.dataSync<'float32'>().slice();
  logits.dispose();
  cache.dispose();
  return values;
}

const rowsKey = 'base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta';

describe('tokens that are added', () => {
  test('are single ids, embedded as the mean of all others; those already there stay', async () => {
    const before = await loadModel(model);
    const table = await before.model.embeddingSite.weight.data<'float32'>();
    const rows = before.model.vocabularySize;
    before.model.dispose();
    const grown = await loadModel(model, { addTokens });
    expect(grown.model.vocabularySize).toBe(rows + 2);
    expect(grown.model.config['vocab_size']).toBe(rows + 2);
    expect(grown.model.addedTokens).toEqual([rows, rows + 1]);
    const after = await grown.model.embeddingSite.weight.data<'float32'>();
    expect(after.slice(0, table.length)).toEqual(table);
    for (let feature = 0; feature < 32; feature++) {
      const mean =
        Array.from({ length: rows }, (_, row) => table[row * 32 + feature] ?? 0).reduce(
          (sum, value) => sum + value,
          0,
        ) / rows;
      for (const row of [rows, rows + 1]) expect(after[row * 32 + feature]).toBeCloseTo(mean, 6);
    }
    const { tokenizer } = grown;
    expect(tokenizer.encode('<|user|>a<|assistant|>')).toEqual([rows, ...tokenizer.encode('a'), rows + 1]);
    expect(tokenizer.decode([rows, ...tokenizer.encode('a')], { skipSpecialTokens: true })).toBe('a');
    grown.model.dispose();
  });

  test('are trained under LoRA, saved with the adapter in the layout of PEFT, and used by chat and merge', async () => {
    const resting = await loadModel(model, { addTokens });
    const ids = [...resting.tokenizer.encode('<|user|>Hello!<|im_end|><|assistant|>')];
    const untrained = await resting.model.embeddingSite.weight.data<'float32'>();
    resting.model.dispose();
    await trainer('lora').run();
    const adapter = join(folder, 'lora', 'adapter');
    const tensors = await tensorsOf(join(adapter, 'adapter_model.safetensors'));
    const trained = tensors.get(rowsKey) ?? new Float32Array(0);
    expect(trained).toHaveLength(2 * 32);
    const start = untrained.subarray(-64);
    expect(Math.max(...trained.map((value, index) => Math.abs(value - (start[index] ?? 0))))).toBeGreaterThan(0.005);
    const config = JSON.parse(readFileSync(join(adapter, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;
    expect(config['trainable_token_indices']).toEqual({
      embed_tokens: [untrained.length / 32 - 2, untrained.length / 32 - 1],
    });
    expect(readFileSync(join(adapter, 'tokenizer.json'), 'utf8')).toContain('<|assistant|>');

    const withAdapter = await openModel(model, { backend: 'cpu', adapter });
    const expected = logitsOf(withAdapter, ids);
    expect(withAdapter.renderer.renderPrompt([{ role: 'user', content: 'Hello!' }])).toBe(
      '<|user|>Hello!<|im_end|><|assistant|>',
    );
    withAdapter.dispose();
    const merged = join(folder, 'merged');
    execFileSync(process.execPath, ['packages/cli/dist/main.js', 'merge', model, adapter, merged, '--backend', 'cpu']);
    const opened = await openModel(merged, { backend: 'cpu' });
    expect([...opened.tokenizer.encode('<|user|>Hello!<|im_end|><|assistant|>')]).toEqual(ids);
    expect(opened.model.parameters.has('lm_head.weight')).toBe(false);
    for (const [index, value] of logitsOf(opened, ids).entries()) expect(value).toBeCloseTo(expected[index] ?? NaN, 4);
    opened.dispose();
  }, 300_000);

  test('resume exactly', async () => {
    await trainer('half', {}, { maxSteps: 2 }).run();
    await trainer('half', {}, { resumeFromCheckpoint: true }).run();
    expect(await tensorsOf(join(folder, 'half', 'adapter', 'adapter_model.safetensors'))).toEqual(
      await tensorsOf(join(folder, 'lora', 'adapter', 'adapter_model.safetensors')),
    );
  }, 300_000);

  test('are in the folder of a model that was trained whole', async () => {
    await trainer('full', { strategy: 'full' }).run();
    const opened = await openModel(join(folder, 'full', 'model'), { backend: 'cpu' });
    expect(opened.tokenizer.tokenId('<|assistant|>')).toBe(opened.model.vocabularySize - 1);
    opened.dispose();
  }, 300_000);

  test('cause a warning if the strategy does not train them', async () => {
    const warnings: string[] = [];
    await trainer('prefix', { strategy: 'p-tuning-v2', output: { folder: null } }, { maxSteps: 1, saveStrategy: 'no' })
      .on('warning', ({ message }) => warnings.push(message))
      .run();
    expect(warnings).toEqual([
      // The template's turn end is a token of the model already.
      expect.stringContaining('model.addTokens[2] has no effect'),
      expect.stringContaining("'p-tuning-v2' does not train the embeddings of 2 tokens that were"),
    ]);
    expect(existsSync(join(folder, 'prefix'))).toBe(false);
  }, 300_000);

  const python = process.env['WHETSTONE_PEER_PYTHON'];
  if (python === undefined)
    console.warn(
      'Added tokens are not read by transformers and PEFT themselves: set WHETSTONE_PEER_PYTHON to a python ' +
        'that has torch, transformers and peft.',
    );
  test.runIf(python !== undefined)(
    'are read by transformers and PEFT, with the same logits',
    async () => {
      const adapter = join(folder, 'lora', 'adapter');
      const script = [
        'import json, sys, torch',
        'from transformers import AutoModelForCausalLM, AutoTokenizer',
        'from peft import PeftModel',
        'model, adapter = sys.argv[1:]',
        'tokenizer = AutoTokenizer.from_pretrained(adapter)',
        'base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)',
        'base.resize_token_embeddings(len(tokenizer))',
        'ids = tokenizer("<|user|>Hello!<|im_end|><|assistant|>", add_special_tokens=False)["input_ids"]',
        'logits = PeftModel.from_pretrained(base, adapter).eval()(torch.tensor([ids])).logits[0, -1].tolist()',
        'prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Hello!"}], tokenize=False, ' +
          'add_generation_prompt=True)',
        'print(json.dumps({"ids": ids, "logits": logits, "prompt": prompt}))',
      ].join('\n');
      const answer = JSON.parse(
        execFileSync(python ?? '', ['-c', script, model, adapter], {
          encoding: 'utf8',
          env: { ...process.env, HF_HUB_OFFLINE: '1' },
        })
          .trim()
          .split('\n')
          .at(-1) ?? '',
      ) as { ids: number[]; logits: number[]; prompt: string };
      const opened = await openModel(model, { backend: 'cpu', adapter });
      expect(answer.ids).toEqual([...opened.tokenizer.encode('<|user|>Hello!<|im_end|><|assistant|>')]);
      expect(answer.prompt).toBe('<|user|>Hello!<|im_end|><|assistant|>');
      for (const [index, value] of logitsOf(opened, answer.ids).entries())
        expect(value).toBeCloseTo(answer.logits[index] ?? NaN, 4);
      opened.dispose();
    },
    300_000,
  );
});
