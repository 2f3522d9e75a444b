import '@tensorflow/tfjs-backend-cpu';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Attachment, Json, LoadedModel } from '@whetstone/core/contract';
import { stopTokensOf } from '@whetstone/core/files';
import { createRandomModel, loadModel, saveModelFolder } from '@whetstone/models';
import { exportResult } from '../../packages/core/src/training/export-result.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';

/** Ids of the tokenizer's added tokens. */
const IDS = { end: 10, turn: 11, call: 12 };
const llama: Record<string, Json> = {
  model_type: 'llama',
  vocab_size: 13,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  tie_word_embeddings: true,
  bos_token_id: 1,
};
const chat = '{% for m in messages %}{{ m.role }}{{ m.content }}<turn>{% endfor %}';
const agent = '{% for m in messages %}{{ m.content }}{{ "<call>" if m.tool_calls else "<turn>" }}{% endfor %}';

let folder: string;
beforeAll(async () => {
  await tf.setBackend('cpu');
  folder = await mkdtemp(join(tmpdir(), 'whetstone-stops-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Writes and loads a model whose turns end with `<turn>`; `eos` and `generation` are its stop lists. */
async function modelWith(
  template: string,
  lists: { readonly eos?: Json; readonly generation?: Json; readonly tokenizerEnd?: string },
): Promise<LoadedModel> {
  const base = await mkdtemp(join(folder, 'base-'));
  const random = createRandomModel({ ...llama, ...(lists.eos === undefined ? {} : { eos_token_id: lists.eos }) }, 1);
  await saveModelFolder(random, base);
  random.dispose();
  const added = Object.entries(IDS).map(([name, id]) => ({
    id,
    content: `<${name}>`,
    special: true,
    lstrip: false,
    rstrip: false,
    normalized: false,
    single_word: false,
  }));
  const vocab = Object.fromEntries([...'abcdefghij'].map((letter, id) => [letter, id]));
  await writeFile(
    join(base, 'tokenizer.json'),
    JSON.stringify({
      version: '1.0',
      added_tokens: added,
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: null,
      model: { type: 'BPE', vocab, merges: [] },
    }),
  );
  await writeFile(
    join(base, 'tokenizer_config.json'),
    JSON.stringify({ eos_token: lists.tokenizerEnd ?? '<end>', chat_template: template }),
  );
  if (lists.generation !== undefined)
    await writeFile(join(base, 'generation_config.json'), JSON.stringify(lists.generation));
  return loadModel(base);
}

const readJson = async (...path: string[]): Promise<Json> => JSON.parse(await readFile(join(...path), 'utf8')) as Json;

describe('stop tokens of the exported result', () => {
  it('are all in generation_config.json of an adapter, and in its card', async () => {
    const loaded = await modelWith(chat, { eos: IDS.end });
    const attachment = await loraStrategy({ rank: 1 }).attach(loaded.model, {
      seed: 1,
      totalSteps: 1,
      modelFolder: null,
    });
    const root = await mkdtemp(join(folder, 'adapter-'));
    const result = await exportResult(root, loaded, attachment, null, null);
    expect(await readJson(result, 'generation_config.json')).toEqual({ bos_token_id: 1, eos_token_id: [10, 11] });
    const card = await readFile(join(result, 'README.md'), 'utf8');
    expect(card).toContain('`<turn>` (token 11)');
    attachment.dispose();
    loaded.model.dispose();
  });

  it('are added to the settings of a model, with those of tool calls', async () => {
    const loaded = await modelWith(agent, { eos: IDS.end, generation: { do_sample: true, eos_token_id: [10] } });
    const root = await mkdtemp(join(folder, 'model-'));
    const owner = { trainable: loaded.model.parameters, dispose: () => undefined } as unknown as Attachment;
    const result = await exportResult(root, loaded, owner, null, null);
    expect(await readJson(result, 'generation_config.json')).toEqual({ do_sample: true, eos_token_id: [10, 11, 12] });
    loaded.model.dispose();
  });

  it('are as before if the model lists them', async () => {
    const loaded = await modelWith(chat, { eos: [IDS.turn, IDS.end] });
    const attachment = await loraStrategy({ rank: 1 }).attach(loaded.model, {
      seed: 1,
      totalSteps: 1,
      modelFolder: null,
    });
    const root = await mkdtemp(join(folder, 'listed-'));
    const result = await exportResult(root, loaded, attachment, null, null);
    await expect(readFile(join(result, 'generation_config.json'))).rejects.toThrow('ENOENT');
    attachment.dispose();
    loaded.model.dispose();
  });
});

it.each<[string, Parameters<typeof modelWith>[1], number[]]>([
  ['no list has it', { eos: IDS.end }, [IDS.turn]],
  ['config.json has it', { eos: [IDS.end, IDS.turn] }, []],
  ['generation_config.json has it', { eos: IDS.end, generation: { eos_token_id: [10, 11] } }, []],
  [
    'generation_config.json has another list than config.json',
    { eos: 11, generation: { eos_token_id: 10 } },
    [IDS.turn],
  ],
  ['the tokenizer has it', { eos: IDS.end, tokenizerEnd: '<turn>' }, []],
])('a turn end is unlisted if no stop list has it: %s', async (_, lists, unlisted) => {
  const loaded = await modelWith(chat, lists);
  expect((await stopTokensOf(loaded)).unlisted).toEqual(unlisted);
  loaded.model.dispose();
});
