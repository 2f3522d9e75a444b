import '@tensorflow/tfjs-backend-cpu';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Attachment, Json, LoadedModel } from '@whetstone/core/contract';
import { stopTokensOf } from '@whetstone/core/files';
import { MODEL_LOADER, provide, TRAIN_DATA } from '@whetstone/core';
import { createRandomModel, generateText, loadModel, loadTokenizer, saveModelFolder } from '@whetstone/models';
import { batchSourceOf, randomRows } from '@whetstone/testing';
import { openModel } from '../../packages/cli/src/open-model.js';
import { exportResult } from '../../packages/core/src/training/export-result.js';
import { remakeRenderer } from '../../packages/models/src/tokenizing.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { tinyTrainer } from '../trainer/support.js';

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
  lists: {
    readonly eos?: Json;
    readonly generation?: Json | string;
    readonly tokenizerEnd?: string;
    readonly vocabularySize?: number;
  },
): Promise<LoadedModel> {
  const base = await mkdtemp(join(folder, 'base-'));
  const { vocabularySize = 13 } = lists;
  const config: Record<string, Json> = { ...llama, vocab_size: vocabularySize };
  if (lists.eos !== undefined) config['eos_token_id'] = lists.eos;
  const random = createRandomModel(config, 1);
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
    await writeFile(
      join(base, 'generation_config.json'),
      typeof lists.generation === 'string' ? lists.generation : JSON.stringify(lists.generation),
    );
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

  it('leave other numbers as they were written: transformers refuses a temperature that is an integer', async () => {
    const loaded = await modelWith(chat, { generation: '{"temperature": 2.0, "eos_token_id": 10, "top_p": 1e-05}' });
    const attachment = await loraStrategy({ rank: 1 }).attach(loaded.model, {
      seed: 1,
      totalSteps: 1,
      modelFolder: null,
    });
    const root = await mkdtemp(join(folder, 'numbers-'));
    const result = await exportResult(root, loaded, attachment, null, null);
    const text = await readFile(join(result, 'generation_config.json'), 'utf8');
    expect(text).toContain('"temperature": 2.0,');
    expect(text).toMatch(/"top_p": (1e-05|0\.00001)/);
    expect(JSON.parse(text)).toEqual({ temperature: 2, eos_token_id: [10, 11], top_p: 1e-5 });
    attachment.dispose();
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

describe('stop tokens of the folders that a run writes in between', () => {
  /** Trains two steps and saves after each. */
  const train = async (loaded: LoadedModel, more: object): Promise<string> => {
    const root = await mkdtemp(join(folder, 'run-'));
    const { folder: model } = loaded.model;
    loaded.model.dispose();
    const services = [
      provide(MODEL_LOADER, { load: loadModel }),
      provide(TRAIN_DATA, batchSourceOf(randomRows(4, 13, 3), 2)),
    ];
    const training = { maxSteps: 2, saveStrategy: 'steps', saveSteps: 1 };
    await tinyTrainer({ model, output: { folder: root }, training, ...more }, { services }).run();
    return root;
  };

  it('a checkpoint of an adapter', async () => {
    const root = await train(await modelWith(chat, { eos: IDS.end }), {
      strategy: { use: 'lora', options: { rank: 1 } },
    });
    for (const name of ['checkpoint-1', 'checkpoint-2', 'adapter']) {
      expect(await readJson(root, name, 'generation_config.json')).toEqual({ bos_token_id: 1, eos_token_id: [10, 11] });
      expect(await readFile(join(root, name, 'README.md'), 'utf8')).toContain('`<turn>` (token 11)');
      expect(await readJson(root, name, 'whetstone.json')).toEqual(await readJson(root, 'adapter', 'whetstone.json'));
    }
  });

  it('a checkpoint of a model', async () => {
    const root = await train(await modelWith(chat, { generation: { do_sample: true, eos_token_id: [10] } }), {});
    for (const name of ['checkpoint-1', 'checkpoint-2', 'model'])
      expect(await readJson(root, name, 'generation_config.json')).toEqual({
        do_sample: true,
        eos_token_id: [10, 11],
      });
  });

  it('a checkpoint of a model whose settings list all stop tokens', async () => {
    const generation = { do_sample: true, eos_token_id: [11, 10] };
    const root = await train(await modelWith(chat, { eos: 10, generation }), {});
    expect(await readJson(root, 'checkpoint-1', 'generation_config.json')).toEqual(generation);
  });

  it('the merged model of a stage', async () => {
    const loaded = await modelWith(chat, { eos: IDS.end });
    const stages = [{ name: 'one', strategy: { use: 'lora', options: { rank: 1 } } }, { name: 'two' }];
    const root = await train(loaded, { stages });
    const merged = (await readdir(root, { recursive: true })).filter((path) => path.endsWith('merged'));
    expect(merged).toHaveLength(1);
    expect(await readJson(root, merged[0] ?? '', 'generation_config.json')).toMatchObject({ eos_token_id: [10, 11] });
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
  ['generation_config.json has no list, so that config.json is not read', { eos: 11, generation: {} }, [IDS.turn]],
  ['generation_config.json has null', { eos: 11, generation: { eos_token_id: null } }, [IDS.turn]],
  ['the model has no embedding of it', { eos: IDS.end, vocabularySize: 11 }, []],
])('a turn end is unlisted if no stop list has it: %s', async (_, lists, unlisted) => {
  const loaded = await modelWith(chat, lists);
  expect((await stopTokensOf(loaded)).unlisted).toEqual(unlisted);
  loaded.model.dispose();
});

it('the list of a folder without generation_config.json may be that of the text model', async () => {
  const loaded = await modelWith(chat, {});
  const nested = { text_config: { eos_token_id: [10, 11], pad_token_id: 0 } };
  const model = Object.assign(Object.create(loaded.model) as typeof loaded.model, { config: nested });
  expect(await stopTokensOf({ ...loaded, model })).toMatchObject({ added: [], unlisted: [] });
  loaded.model.dispose();
});

const body = '{% for m in messages %}{{ m.content }}<turn>{% endfor %}';

it.each([
  ['instructions', "{% if messages[0].role != 'system' %}{{ raise_exception('no instructions') }}{% endif %}" + body],
  ['no instructions', "{% if messages[0].role == 'system' %}{{ raise_exception('instructions') }}{% endif %}" + body],
  [
    'contents as lists of parts',
    '{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}<turn>{% endfor %}',
  ],
  ['a single exchange', "{% if messages | length > 2 %}{{ raise_exception('too long') }}{% endif %}" + body],
  [
    'instructions and a single exchange',
    "{% if messages | length != 3 %}{{ raise_exception('length') }}{% endif %}" + body,
  ],
])('the turn end of a template that requires %s is a stop token', async (_, template) => {
  const loaded = await modelWith(template, { eos: IDS.end });
  expect(loaded.renderer.stopTokenIds).toEqual([IDS.turn, IDS.end]);
  loaded.model.dispose();
});

describe('generation stops at what the model lists', () => {
  const plain = '{% for m in messages %}{{ m.content }}{% endfor %}';

  it.each<[string, Parameters<typeof modelWith>[1]]>([
    ['a list of generation_config.json', { eos: IDS.turn, generation: { eos_token_id: [IDS.end, IDS.call] } }],
    ['a number of generation_config.json', { generation: { eos_token_id: IDS.call } }],
    ['a list of config.json', { eos: [IDS.call, IDS.end] }],
  ])('%s', async (_, lists) => {
    const loaded = await modelWith(plain, lists);
    expect(loaded.renderer.stopTokenIds.toSorted()).toEqual([IDS.end, IDS.call]);
    const { folder: base } = loaded.model;
    loaded.model.dispose();
    // Worker threads check the turns of training data with it.
    const remade = await remakeRenderer(
      { folder: base ?? '', chatTemplatePath: null, adapter: null, now: new Date(0).toISOString() },
      await loadTokenizer(base ?? ''),
    );
    expect(remade.stopTokenIds).toEqual(loaded.renderer.stopTokenIds);
  });

  it('text, in a model without a template and with the list of an adapter', async () => {
    const free = await modelWith(plain, {});
    const ids = async (loaded: LoadedModel): Promise<number[]> => {
      const counts: number[] = [];
      for await (const { tokens } of generateText(loaded, ['abc'], { maxNewTokens: 8 })) counts.push(tokens);
      return counts;
    };
    expect(await ids(free)).toHaveLength(8);
    const first = argMaxOf(free);
    const base = free.model.folder ?? '';
    const adapter = await mkdtemp(join(folder, 'list-'));
    await writeFile(join(adapter, 'generation_config.json'), JSON.stringify({ eos_token_id: [IDS.end, first] }));
    free.model.dispose();
    await writeFile(join(base, 'tokenizer_config.json'), JSON.stringify({ eos_token: '<end>' }));
    const stopped = await loadModel(base, { adapter });
    expect(await ids(stopped)).toEqual([1]);
    stopped.model.dispose();
  });

  it('those of an adapter, also if it is merged', async () => {
    const base = await modelWith(plain, { generation: { eos_token_id: IDS.end } });
    const adapter = await mkdtemp(join(folder, 'merged-'));
    await writeFile(join(adapter, 'generation_config.json'), JSON.stringify({ eos_token_id: [IDS.end, IDS.call] }));
    // `merge` opens the model with the tokenizer of the adapter, and puts the adapter on it later.
    const opened = await openModel(base.model.folder ?? '', { backend: 'cpu', tokenizer: adapter });
    expect((await stopTokensOf(opened)).added).toEqual([IDS.call]);
    opened.dispose();
    base.model.dispose();
  });

  it('is an error with the file if the list cannot be read', async () => {
    await expect(modelWith(plain, { generation: '[10]' })).rejects.toMatchObject({
      code: 'MODEL_CONFIG_INVALID',
      place: { file: expect.stringMatching(/generation_config\.json$/) as string },
    });
  });
});

/** Returns the token that the model generates after `abc`. */
function argMaxOf({ model }: LoadedModel): number {
  const input = {
    rows: 1,
    length: 3,
    ids: Int32Array.of(0, 1, 2),
    segmentIds: Int32Array.of(1, 1, 1),
    positionIds: Int32Array.of(0, 1, 2),
  };
  return tf.tidy(() => tf.argMax(model.logits(input, Int32Array.of(2)), 1).dataSync()[0] ?? -1);
}
