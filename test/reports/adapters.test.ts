import '@tensorflow/tfjs-backend-cpu';
import { copyFileSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  isWhetstoneError,
  type AdapterFiles,
  type ExportedAdapter,
  type LanguageModel,
} from '@whetstone/core/contract';
import { loadLanguageModel } from '@whetstone/models';
import { loadAdapter, mergeAdapter, readAdapterFolder } from '@whetstone/strategies';
import { applyMergedWeights } from '@whetstone/strategies/internal';
import { lnTuning } from '../../examples/ln-tuning/index.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import type { LoraOptions } from '../../packages/strategies/src/lora/options.js';
import { isTargeted } from '../../packages/strategies/src/lora/targets.js';
import { forwardInputOf, largestDifference } from '../support/model-numbers.js';
import { writeTrained } from '@whetstone/core/checkpoint';
import { openSafetensors, writeSafetensors } from '@whetstone/core/safetensors';
import { goldenPath } from '../support/golden.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { casePath } from './support.js';

let model: LanguageModel;
beforeAll(async () => {
  await tf.setBackend('cpu');
  model = await loadLanguageModel(goldenPath('models', 'llama'));
});
afterAll(() => model.dispose());

/** Returns the text of the error with which a promise is rejected; null if it is not. */
const rejection = async (work: () => unknown): Promise<string | null> => {
  try {
    await work();
    return null;
  } catch (error) {
    if (isWhetstoneError(error)) return error.toString();
    throw error;
  }
};

describe('an adapter of PEFT whose initialisation changed the base', () => {
  const folder = goldenPath('peft', 'lora-llama');
  const withInitialisation = async (value: string | boolean, use: (files: AdapterFiles) => unknown): Promise<void> => {
    const files = await readAdapterFolder(folder);
    try {
      await use({ ...files, config: { ...(files.config as object), init_lora_weights: value } });
    } finally {
      files.dispose();
    }
  };

  it.each(['pissa', 'pissa_niter_4', 'olora', 'OLoRA', 'corda', 'loftq', 'lora_ga'])(
    '%s is refused by name',
    async (value) => {
      await withInitialisation(value, async (files) => {
        for (const work of [() => loadAdapter(model, files), () => mergeAdapter(model, files)]) {
          const text = await rejection(work);
          expect(text).toContain('[ADAPTER_INVALID]');
          expect(text).toContain('init_lora_weights');
          expect(text).toContain(value);
        }
      });
    },
  );

  it.each([true, false, 'gaussian', 'eva', 'orthogonal', 'mica'])(
    '%s is read: PEFT leaves the base as it is',
    async (value) => {
      await withInitialisation(value, async (files) => (await loadAdapter(model, files)).dispose());
    },
  );
});

/** The fields of adapter_config.json by which PEFT selects modules. */
interface Selection {
  readonly target_modules: string | string[];
  readonly exclude_modules?: string | string[] | null;
  readonly layers_to_transform?: number | number[] | null;
  readonly layers_pattern?: string | string[] | null;
  readonly modules_to_save?: string[] | null;
}

const selectedBy = (fields: Selection): string[] =>
  [...model.linearSites.values()]
    .filter((site) =>
      isTargeted(site, {
        targetModules: fields.target_modules,
        excludeModules: fields.exclude_modules ?? null,
        layersToTransform: fields.layers_to_transform ?? null,
        layersPattern: fields.layers_pattern ?? null,
        modulesToSave: fields.modules_to_save ?? null,
      }),
    )
    .map(({ name }) => name);

describe('the modules of an adapter', () => {
  // Expected modules: PEFT's rule, see make_adapters.py.
  const cases = JSON.parse(readFileSync(casePath('adapters/targets.json'), 'utf8')) as {
    readonly fields: Selection;
    readonly modules: string[];
  }[];
  it.each(cases)('are selected as by PEFT: $fields', ({ fields, modules }) => {
    expect(selectedBy(fields)).toEqual(modules);
  });

  const layer = (index: number): string[] =>
    ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'self_attn.o_proj']
      .concat(['mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj'])
      .map((name) => `model.layers.${index}.${name}`);
  const adapted = ({ tensors }: ExportedAdapter): string[] =>
    [...tensors.keys()].flatMap((key) => /^base_model\.model\.(.*)\.lora_A\.weight$/.exec(key)?.[1] ?? []);

  it.each<[string, Partial<LoraOptions>, string[]]>([
    ['the default', { layersToTransform: [1] }, layer(1)],
    ['all-linear and a number', { targetModules: 'all-linear', layersToTransform: 2 }, layer(2)],
    [
      'all-linear and two layers',
      { targetModules: 'All-Linear', layersToTransform: [0, 2] },
      [...layer(0), ...layer(2)],
    ],
    [
      'a regular expression',
      { targetModules: '.*q_proj', layersToTransform: [0, 2] },
      ['model.layers.0.self_attn.q_proj', 'model.layers.2.self_attn.q_proj'],
    ],
    [
      'a regular expression of JavaScript',
      { targetModules: '.*(?<name>q)_proj', layersToTransform: 1 },
      ['model.layers.1.self_attn.q_proj'],
    ],
    [
      'an expression that matches containers',
      { targetModules: '.*layers\\.0\\.(self_attn|.*q_proj)' },
      ['model.layers.0.self_attn.q_proj'],
    ],
    [
      'a pattern without layers',
      { targetModules: ['q_proj'], layersPattern: 'layers' },
      [0, 1, 2].map((index) => `model.layers.${index}.self_attn.q_proj`),
    ],
    [
      'excluded modules',
      { excludeModules: ['mlp.up_proj'], layersToTransform: 0 },
      layer(0).filter((name) => !name.endsWith('up_proj')),
    ],
    [
      'the head',
      { targetModules: ['lm_head', 'q_proj'], layersToTransform: 0 },
      ['model.layers.0.self_attn.q_proj', 'lm_head'],
    ],
  ])('are those that the exported configuration selects: %s', async (_, options, expected) => {
    const attachment = await loraStrategy({ rank: 2, ...options }).attach(model, {
      seed: 1,
      totalSteps: 1,
      modelFolder: null,
    });
    const exported = attachment.exportAdapter?.();
    if (exported === undefined) throw new Error('no adapter');
    const config = exported.config as unknown as Selection;
    expect(adapted(exported)).toEqual(expected);
    expect(selectedBy(config)).toEqual(expected);
    // PEFT refuses layers beside a regular expression, and a pattern without layers.
    if (typeof config.target_modules === 'string') {
      expect(config.target_modules).not.toMatch(/\(\?<[^=!]/);
      expect(config.layers_to_transform).toBeNull();
    }
    if (config.layers_to_transform === null) expect(config.layers_pattern).toBeNull();
    const copy = {
      config: exported.config,
      tensors: new Map([...exported.tensors].map(([key, one]) => [key, one.clone()])),
    };
    attachment.dispose();
    (await loadAdapter(model, copy)).dispose();
    tf.dispose([...copy.tensors.values()]);
  });

  const run = { seed: 1, totalSteps: 1, modelFolder: null };
  const queries = [0, 1, 2].map((index) => `model.layers.${index}.self_attn.q_proj`);
  const byPath = (...values: number[]): object =>
    Object.fromEntries(values.map((value, index) => [queries[index] ?? '', value]));

  // PEFT writes and reads the patterns in the order of their names.
  it.each<[string, Record<string, number>, object]>([
    ['are as configured', { '0\\..*q_proj': 3, q_proj: 4 }, { '0\\..*q_proj': 3, q_proj: 4 }],
    ['have the order in which they are written', { q_proj: 4, k_proj: 3 }, { k_proj: 3, q_proj: 4 }],
    ['name modules if another one would decide in that order', { q_proj: 4, '0\\..*q_proj': 3 }, byPath(4, 4, 4)],
    ['name modules if only JavaScript reads one', { '[01]\\.(?<a>.*)q_proj': 3, q_proj: 4 }, byPath(3, 3, 4)],
    ['name modules if Python reads one differently', { '[^]*\\.q_proj': 3 }, byPath(3, 3, 3)],
  ])('have patterns that %s', async (_, patterns, expected) => {
    for (const option of ['rankPattern', 'alphaPattern'] as const) {
      const strategy = loraStrategy({ targetModules: ['q_proj'], [option]: patterns });
      const attachment = await strategy.attach(model, run);
      const exported = attachment.exportAdapter?.() ?? expect.fail('no adapter');
      const written = (exported.config as Record<string, object>)[
        option === 'rankPattern' ? 'rank_pattern' : 'alpha_pattern'
      ];
      expect(Object.entries(written ?? {})).toEqual(Object.entries(expected));
      attachment.dispose();
    }
  });

  it('have no trained rows if they are trained completely: PEFT refuses both', async () => {
    const strategy = loraStrategy({
      targetModules: ['q_proj'],
      trainableTokenIndices: [3, 1],
      modulesToSave: ['lm_head'],
    });
    const attachment = await strategy.attach(model, run);
    const { config, tensors } = attachment.exportAdapter?.() ?? expect.fail('no adapter');
    expect(config).toMatchObject({ trainable_token_indices: { embed_tokens: [3, 1] } });
    expect([...tensors.keys()].filter((key) => !key.includes('.lora_')).toSorted()).toEqual([
      'base_model.model.lm_head.weight',
      'base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta',
    ]);
    attachment.dispose();
  });

  it('cannot be adapted if some of their rows are trained: PEFT refuses both', async () => {
    const strategy = loraStrategy({ targetModules: ['q_proj', 'lm_head'], trainableTokenIndices: [3, 1] });
    for (const work of [() => strategy.plan?.(model, null), () => strategy.attach(model, run)]) {
      const text = await rejection(work);
      expect(text).toContain('[CONFIG_CONFLICT]');
      expect(text).toContain('lm_head');
    }
  });

  it('cannot be a tied head that is saved if rows of its embedding are trained: PEFT refuses both', async () => {
    const tied = await loadLanguageModel(goldenPath('models', 'llama-tied'));
    const options = { targetModules: ['q_proj'], trainableTokenIndices: [3, 1], modulesToSave: ['lm_head'] };
    const strategy = loraStrategy(options);
    for (const work of [() => strategy.plan?.(tied, null), () => strategy.attach(tied, run)]) {
      const text = await rejection(work);
      expect(text).toContain('[CONFIG_CONFLICT]');
      expect(text).toContain('lm_head');
    }
    tied.dispose();
  });

  it('keep their scale in the file, whatever the order of the patterns', async () => {
    const folder = await temporaryFolder();
    const strategy = loraStrategy({ rank: 2, alphaPattern: { q_proj: 32, '.*q_proj': 4 }, initLoraWeights: 'pissa' });
    const attachment = await strategy.attach(model, run);
    for (const variable of attachment.trainable.values()) tf.tidy(() => variable.assign(tf.mul(variable, 1.5)));
    const ids = [[1, 2, 3]];
    const logits = (): Float32Array =>
      tf.tidy(() =>
        model.logits(forwardInputOf({ input_ids: ids, attention_mask: [[1, 1, 1]] }), 'all').dataSync<'float32'>(),
      );
    const trained = logits();
    await writeTrained(folder, model, attachment);
    attachment.dispose();
    const files = await readAdapterFolder(folder);
    const loaded = await loadAdapter(model, files);
    expect(largestDifference(logits(), trained)).toBeLessThan(1e-4);
    loaded.dispose();
    files.dispose();
  });

  // Python's documentation of `re`: \\A and \\Z match the ends of the text, {,n} means {0,n}.
  it.each<[Selection, string[]]>([
    [{ target_modules: '\\A.*q_proj\\Z' }, [0, 1, 2].map((index) => `model.layers.${index}.self_attn.q_proj`)],
    [
      { target_modules: 'model\\.layers\\.[1-9]{,1}\\..*k_proj' },
      [1, 2].map((i) => `model.layers.${i}.self_attn.k_proj`),
    ],
    [
      { target_modules: '.*(?P<layer>[12])\\.self_attn\\.v_proj' },
      [1, 2].map((i) => `model.layers.${i}.self_attn.v_proj`),
    ],
    [{ target_modules: ['q_proj'], exclude_modules: '.*\\.[01]\\..*\\Z' }, ['model.layers.2.self_attn.q_proj']],
    [{ target_modules: '.*\\.[{,1}\\]0]\\..*\\.q_proj' }, [0, 1].map((i) => `model.layers.${i}.self_attn.q_proj`)],
  ])('are selected by expressions of Python: %j', (fields, expected) => {
    expect(selectedBy(fields)).toEqual(expected);
  });

  it.each([
    ['lora-llama', { layers_to_transform: [1] }, 'does not select'],
    ['lora-llama', { exclude_modules: ['q_proj'] }, 'does not select'],
    ['ia3-llama', { exclude_modules: ['k_proj'] }, 'does not select'],
    ['ia3-llama', { target_modules: ['k_proj', 'v_proj', 'down_proj', 'up_proj'] }, 'is missing'],
  ])('must match the configuration when it is read: %s with %j', async (name, fields, message) => {
    const files = await readAdapterFolder(goldenPath('peft', name));
    const text = await rejection(async () =>
      loadAdapter(model, { ...files, config: { ...(files.config as object), ...fields } }),
    );
    files.dispose();
    expect(text).toContain('[ADAPTER_INVALID]');
    expect(text).toContain(message);
  });

  it('must all be in the file', async () => {
    const files = await readAdapterFolder(goldenPath('peft', 'lora-llama'));
    const lacking = new Map([...files.tensors].filter(([key]) => !key.includes('layers.1.self_attn.v_proj')));
    const text = await rejection(async () => loadAdapter(model, { ...files, tensors: lacking }));
    files.dispose();
    expect(text).toContain('[ADAPTER_INVALID]');
    expect(text).toContain('model.layers.1.self_attn.v_proj.lora_A.weight');
  });
});

describe('adapters as PEFT writes them', () => {
  // Expected logits: PEFT, see make_adapters.py.
  const fixture = JSON.parse(readFileSync(casePath('adapters/logits.json'), 'utf8')) as {
    readonly ids: number[][];
    readonly models: Readonly<Record<string, string>>;
    readonly logits: Readonly<Record<string, number[]>>;
  };
  const logits = (of: LanguageModel): Float32Array => {
    const mask = fixture.ids.map((row) => row.map(() => 1));
    const input = forwardInputOf({ input_ids: fixture.ids, attention_mask: mask });
    return tf.tidy(() => of.logits(input, 'all').dataSync<'float32'>());
  };
  const expectLogits = (of: LanguageModel, name: string): void =>
    expect(largestDifference(logits(of), fixture.logits[name] ?? [])).toBeLessThan(5e-5);
  const reading = async (name: string, use: (files: AdapterFiles) => unknown): Promise<void> => {
    const files = await readAdapterFolder(casePath(`adapters/${name}`));
    try {
      await use(files);
    } finally {
      files.dispose();
    }
  };
  const modelOf = (name: string): Promise<LanguageModel> =>
    loadLanguageModel(goldenPath('models', fixture.models[name] ?? ''));
  /** Names of the adapter within keys, as in a state dict of PEFT. */
  const named = ({ tensors, ...rest }: AdapterFiles): AdapterFiles => ({
    ...rest,
    tensors: new Map(
      [...tensors].map(([key, one]) => [
        key.replace(/(lora_(embedding_)?[AB]|lora_magnitude_vector|trainable_tokens_delta|ia3_l)/, '$1.default'),
        one,
      ]),
    ),
  });

  it.each(Object.keys(fixture.logits))(
    '%s computes the same logits, also merged, and with the name of the adapter in its keys',
    async (name) => {
      const loaded = await modelOf(name);
      await reading(name, async (files) => {
        const before = logits(loaded);
        const tensors = tf.memory().numTensors;
        for (const each of [files, named(files)]) {
          const adapter = await loadAdapter(loaded, each);
          expectLogits(loaded, name);
          adapter.dispose();
          expect(logits(loaded)).toEqual(before);
          expect(tf.memory().numTensors).toBe(tensors);
        }
        if (name === 'p-tuning') return;
        const merged = await mergeAdapter(loaded, files);
        applyMergedWeights(loaded, merged.weights, 'F32');
        expectLogits(loaded, name);
        merged.dispose();
      });
      loaded.dispose();
    },
  );

  it.each([
    ['saved-layer', 'model.layers.1.', 'model.layers.1.modules_to_save.default.'],
    ['saved-layer', 'model.norm.', 'model.norm.modules_to_save.policy.'],
    ['ia3-saved', 'lm_head.', 'lm_head.modules_to_save.policy.'],
  ])('%s is read with the name of the adapter after modules_to_save: %s', async (name, module, written) => {
    await reading(name, async (files) => {
      const isAdapted = (key: string): boolean => /lora_|ia3_/.test(key);
      const tensors = new Map(
        [...files.tensors].map(([key, one]) => [isAdapted(key) ? key : key.replace(module, written), one]),
      );
      expect([...tensors.keys()].join()).toContain(written);
      const adapter = await loadAdapter(model, { ...files, tensors });
      expectLogits(model, name);
      adapter.dispose();
    });
  });

  it('can be trained on if they adapt the head', async () => {
    const strategy = loraStrategy({ adapter: casePath('adapters/head') });
    const attachment = await strategy.attach(model, { seed: 1, totalSteps: 1, modelFolder: null });
    expectLogits(model, 'head');
    expect([...attachment.trainable.keys()].filter((key) => key.includes('lm_head'))).toEqual([
      'base_model.model.lm_head.lora_A.weight',
      'base_model.model.lm_head.lora_B.weight',
    ]);
    attachment.dispose();
  });

  const training = (name: string, of: LanguageModel): Promise<string | null> =>
    rejection(async () =>
      loraStrategy({ adapter: casePath(`adapters/${name}`) }).attach(of, {
        seed: 1,
        totalSteps: 1,
        modelFolder: null,
      }),
    );

  it('are refused for training on another head', async () => {
    expect(await training('head-other-base', model)).toContain('lm_head.base_layer.weight');
  });

  it('are refused for training if that would untie the embedding that PEFT kept tied', async () => {
    const tied = await modelOf('tying-saved');
    const text = await training('tying-saved', tied);
    expect(text).toContain('[ADAPTER_INVALID]');
    expect(text).toContain('ensure_weight_tying');
    tied.dispose();
  });

  it('name both sizes if the vocabulary was padded, once', async () => {
    await reading('padded', async (files) => {
      for (const work of [() => loadAdapter(model, files), () => mergeAdapter(model, files)]) {
        const text = (await rejection(work)) ?? '';
        expect(text).toContain('[ADAPTER_INVALID]');
        expect(text).toContain('96 rows');
        expect(text).toContain('resize_token_embeddings(128)');
        expect(text.match(/128 rows/g)).toHaveLength(1);
      }
    });
  });

  it.each([
    ['saved-layer', 'model.layers.1.mlp.up_proj.weight', 'base_model.model.model.layers.1.mlp.up_proj.weight'],
    ['ia3-saved', 'lm_head.weight', 'base_model.model.lm_head.weight'],
  ])('must contain the modules that modules_to_save names: %s', async (name, parameter, key) => {
    await reading(name, async (files) => {
      const tensors = new Map([...files.tensors].filter(([each]) => !each.endsWith(parameter)));
      const text = await rejection(() => loadAdapter(model, { ...files, tensors }));
      expect(text).toContain(key);
      expect(text).toContain('modules_to_save');
    });
  });

  it('must not contain more than virtual tokens if they have any', async () => {
    await reading('p-tuning', async (files) => {
      const [tensor] = files.tensors.values();
      if (tensor === undefined) throw new Error('no tensor');
      const tensors = new Map([...files.tensors, ['base_model.model.lm_head.weight', tensor]]);
      expect(await rejection(() => loadAdapter(model, { ...files, tensors }))).toContain('lm_head.weight');
    });
  });
});

describe('adapters in files that PEFT does not write', () => {
  // What a wrapper of the model adds to the keys of a state dict when it is saved.
  const wrapped: Readonly<Record<string, (key: string) => string>> = {
    'module.': (key) => `module.${key}`,
    '_orig_mod.': (key) => key.replace('base_model.model.', 'base_model.model._orig_mod.'),
    'base_model.model.': (key) => `base_model.model.${key}`,
    'model.': (key) => `model.${key}`,
    '_orig_mod. and module.': (key) => `_orig_mod.module.${key}`,
  };
  /** Writes the adapter with other names of tensors. Returns its folder. */
  async function renamed(from: string, rename: (key: string) => string): Promise<string> {
    const folder = await temporaryFolder();
    copyFileSync(join(from, 'adapter_config.json'), join(folder, 'adapter_config.json'));
    const reader = await openSafetensors(join(from, 'adapter_model.safetensors'));
    const tensors = [];
    for (const [name, { shape }] of reader.tensors)
      tensors.push({ name: rename(name), dtype: 'F32' as const, shape, data: await reader.readFloat32(name) });
    await reader.close();
    await writeSafetensors(join(folder, 'adapter_model.safetensors'), tensors);
    return folder;
  }
  const keysOf = async (folder: string, warn: (message: string) => void): Promise<string[]> => {
    const files = await readAdapterFolder(folder, { warn });
    files.dispose();
    return [...files.tensors.keys()];
  };

  it.each(['lora-llama', 'lora-qv-head-llama', 'dora-llama', 'ia3-llama'])(
    '%s is read without them, with a notice',
    async (name) => {
      const plain = await keysOf(goldenPath('peft', name), (message) => expect.unreachable(message));
      for (const [added, rename] of Object.entries(wrapped)) {
        const notices: string[] = [];
        const folder = await renamed(goldenPath('peft', name), rename);
        expect(await keysOf(folder, (message) => void notices.push(message))).toEqual(plain);
        expect(notices).toEqual([expect.stringContaining(added)]);
      }
    },
  );

  it('pickled tensors are refused by name', async () => {
    const folder = await renamed(goldenPath('peft', 'lora-llama'), (key) => key);
    renameSync(join(folder, 'adapter_model.safetensors'), join(folder, 'adapter_model.bin'));
    const text = await rejection(() => readAdapterFolder(folder));
    expect(text).toMatch(/\[ADAPTER_INVALID\].*adapter_model\.bin.*pickled/);
  });

  it('a prompt is read without them', async () => {
    const folder = await renamed(goldenPath('peft', 'prompt-tuning-llama'), (key) => `module.${key}`);
    expect(await keysOf(folder, () => undefined)).toEqual(['prompt_embeddings']);
  });
});

describe('adapters of a type that only a plugin reads, as PEFT writes them', () => {
  // Expected logits: PEFT, see make_adapters.py.
  const fixture = JSON.parse(readFileSync(casePath('adapters/norms.json'), 'utf8')) as {
    readonly ids: number[][];
    readonly logits: Readonly<Record<string, number[]>>;
  };
  const logitsOf = (one: LanguageModel): Float32Array => {
    const mask = fixture.ids.map((row) => row.map(() => 1));
    const input = forwardInputOf({ input_ids: fixture.ids, attention_mask: mask });
    return tf.tidy(() => one.logits(input, 'all').dataSync<'float32'>());
  };

  it.each(Object.keys(fixture.logits))('LN_TUNING of %s computes the same logits, loaded and merged', async (base) => {
    const own = await loadLanguageModel(goldenPath('models', base));
    const files = await readAdapterFolder(casePath(`adapters/norms-${base}`));
    const expected = fixture.logits[base] ?? [];
    expect(largestDifference(logitsOf(own), expected)).toBeGreaterThan(0.1);
    const adapter = await loadAdapter(own, files, [lnTuning]);
    expect(largestDifference(logitsOf(own), expected)).toBeLessThan(5e-5);
    adapter.dispose();
    expect(largestDifference(logitsOf(own), expected)).toBeGreaterThan(0.1);
    const { weights } = await mergeAdapter(own, files, [lnTuning]);
    for (const [name, weight] of weights) own.parameters.get(name)?.assign(weight as never);
    expect(largestDifference(logitsOf(own), expected)).toBeLessThan(5e-5);
    tf.dispose([...weights.values()]);
    files.dispose();
    own.dispose();
  });
});
