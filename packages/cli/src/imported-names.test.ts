import { readFileSync } from 'node:fs';
import { isWhetstoneError, type WhetstoneError } from '@whetstone/core/contract';
import { describe, expect, it } from 'vitest';
import { Trainer, untypedConfig } from './trainer.js';

interface Field {
  readonly type: string;
  readonly default: unknown;
}

/** The fields of the configurations of TRL, transformers and PEFT. `fields.py` beside the file wrote them. */
const { classes } = JSON.parse(
  readFileSync(new URL('../../../test/golden/trl-fields/fields.json', import.meta.url), 'utf8'),
) as { readonly classes: Readonly<Record<string, Readonly<Record<string, Field>>>> };
const minimal = { model: 'm', data: { train: 'train.jsonl', eval: 'eval.jsonl' }, strategy: 'lora' };

async function refusal(config: object): Promise<WhetstoneError | null> {
  try {
    await new Trainer(untypedConfig(config)).resolve();
    return null;
  } catch (error) {
    if (isWhetstoneError(error)) return error;
    throw error;
  }
}

/** Returns values of the type of a field that differ from its default. */
function otherValues({ type, default: byDefault }: Field): readonly unknown[] {
  const values = [
    ...(/bool/.test(type) ? [true, false] : []),
    ...(/\bint\b/.test(type) ? [3] : []),
    ...(/float/.test(type) ? [0.25] : []),
    ...(/str|Literal|Union|SchedulerType/.test(type) ? ['something'] : []),
    ...(/list/.test(type) ? [['something']] : []),
    ...(/dict|Config/.test(type) ? [{ something: 1 }] : []),
  ];
  return values.filter((value) => JSON.stringify(value) !== JSON.stringify(byDefault));
}

/** Fields that the minimal configuration has under another name, and one whose keys are options of the schedule. */
const present = ['model_name_or_path', 'use_peft', 'lr_scheduler_kwargs'];

describe('the fields of TRL, transformers and PEFT', () => {
  it('are all known with their defaults, together', async () => {
    const defaults = Object.fromEntries(
      ['SFTConfig', 'ModelConfig', 'ScriptArguments'].flatMap((name) =>
        Object.entries(classes[name] ?? {}).map(([field, { default: value }]) => [field, value]),
      ),
    );
    const { packing: _packing, seed: _seed, ...flat } = defaults;
    const resolved = await new Trainer(untypedConfig({ ...minimal, strategy: 'full', ...flat })).resolve();
    expect(resolved.training).toMatchObject({ numTrainEpochs: 3, perDeviceTrainBatchSize: 8, loggingSteps: 10 });
    expect(resolved.optimizer).toEqual({
      use: 'adamw',
      learningRate: 2e-5,
      weightDecay: 0,
      adamBeta1: 0.9,
      adamBeta2: 0.999,
      adamEpsilon: 1e-8,
    });
    expect(resolved.data).toMatchObject({ maxLength: 1024, shuffleDataset: false, assistantOnlyLoss: false });
    expect(resolved.callbacks).toEqual(
      [{ use: 'gradient-clipping', options: { maxNorm: 1, mode: 'norm' } }].map((each) =>
        expect.objectContaining({ use: each.use, options: expect.objectContaining(each.options) }),
      ),
    );
  });

  it.each(['SFTConfig', 'ModelConfig', 'ScriptArguments', 'LoraConfig'])(
    'are accepted, or refused with the line to write, with any value: %s',
    async (name) => {
      const entries = Object.entries(classes[name] ?? {}).filter(([field]) => !present.includes(field));
      const choices = entries.map(([field, each]) => [field, otherValues(each)] as const);
      const withoutLine: string[] = [];
      let refused = 0;
      for (let index = 0; index < Math.max(...choices.map(([, values]) => values.length)); index++) {
        const fields = choices.flatMap(([field, values]) => (index < values.length ? [[field, values[index]]] : []));
        const error = await refusal({ ...minimal, ...Object.fromEntries(fields) });
        const problems = (error?.problems ?? []).filter(({ message }) => message.startsWith('Unknown key'));
        refused += problems.length;
        for (const { message, hint = '' } of problems)
          if (!/(?:[Ww]rite|Remove) "/.test(hint)) withoutLine.push(`${message} ${hint}`);
      }
      expect(withoutLine).toEqual([]);
      expect(refused).toBeGreaterThan(0);
    },
  );

  it('are known among the options of lora', async () => {
    const options = Object.entries(classes['LoraConfig'] ?? {}).map(([name, field]) => [name, field.default]);
    const error = await refusal({ ...minimal, strategy: { use: 'lora', options: Object.fromEntries(options) } });
    const hints = (error?.problems ?? []).map(({ hint }) => hint);
    expect(hints).toEqual([expect.stringContaining('write "target_modules": [')]);
  });
});

describe('fields that mean another option', () => {
  const resolve = (fields: object, base: object = minimal) =>
    new Trainer(untypedConfig({ ...base, ...fields })).resolve();

  // Several fields together, because each configuration takes a while to validate.
  it.each<[object, object]>([
    [
      {
        optim: 'paged_adamw_8bit',
        lr_scheduler_type: 'cosine_with_restarts',
        lr_scheduler_kwargs: { num_cycles: 3 },
        logging_steps: 0.1,
        save_total_limit: 0,
        dtype: 'bfloat16',
        pad_to_multiple_of: 64,
        max_seq_length: null,
        dataset_num_proc: 2,
        max_grad_norm: 0,
        report_to: ['tensorboard'],
      },
      {
        optimizer: { use: 'adamw' },
        schedule: { use: 'cosine_with_restarts', numCycles: 3 },
        training: { loggingSteps: 0.1, saveTotalLimit: null },
        model: { path: 'm', dtype: 'bfloat16' },
        data: { padToMultipleOf: 64, maxLength: null, workers: 2 },
        callbacks: [],
        loggers: [{ use: 'metrics-jsonl' }, { use: 'tensorboard' }],
      },
    ],
    [
      {
        optim: 'sgd',
        schedule: 'cosine',
        warmup_ratio: 0.1,
        lr_scheduler_kwargs: '{"num_cycles": 2}',
        model_init_kwargs: { torch_dtype: 'bfloat16', attn_implementation: 'sdpa' },
        report_to: 'none',
        early_stopping_patience: 2,
        lora_r: 4,
        lora_alpha: 8,
        lora_dropout: 0.1,
        lora_target_modules: ['q_proj'],
        lora_modules_to_save: ['lm_head'],
        load_in_4bit: false,
        bnb_4bit_quant_type: 'nf4',
      },
      {
        optimizer: { use: 'sgd' },
        schedule: { use: 'cosine', warmupSteps: 0.1, numCycles: 2 },
        model: { dtype: 'bfloat16' },
        loggers: [{ use: 'metrics-jsonl' }],
        callbacks: [{ use: 'gradient-clipping' }, { use: 'early-stopping', options: { patience: 2 } }],
        strategy: {
          use: 'lora',
          options: { rank: 4, alpha: 8, dropout: 0.1, targetModules: ['q_proj'], modulesToSave: ['lm_head'] },
        },
      },
    ],
    [
      { r: 2, use_rslora: true, use_dora: true, bias: 'all', trainable_token_indices: { embed_tokens: [3, 5] } },
      {
        strategy: {
          options: { rank: 2, useRslora: true, useDora: true, bias: 'all', trainableTokenIndices: [3, 5] },
        },
      },
    ],
  ])('%j', async (fields, expected) => {
    expect(await resolve(fields)).toMatchObject(expected);
  });

  const { strategy: _, ...unset } = minimal;
  it.each<[object, object]>([
    [
      { use_peft: true, lora_r: 4 },
      { use: 'lora', options: { rank: 4 } },
    ],
    [
      { lora_r: 4, use_peft: true, lora_alpha: 2 },
      { use: 'lora', options: { rank: 4, alpha: 2 } },
    ],
    [
      { use_peft: false, lora_r: 4 },
      { use: 'full', options: {} },
    ],
    [
      { use_peft: true, load_in_4bit: true, bnb_4bit_quant_type: 'fp4', use_bnb_nested_quant: false, lora_r: 4 },
      {
        use: 'qlora',
        options: { quantType: 'fp4', doubleQuantization: false, rank: 4 },
      },
    ],
    [
      { load_in_8bit: true, use_peft: true },
      { use: 'qlora', options: { quantType: 'int8' } },
    ],
  ])('%j without a strategy', async (fields, strategy) => {
    expect((await resolve(fields, unset)).strategy).toMatchObject(strategy);
  });

  it.each<[object, readonly string[]]>([
    [
      {
        load_in_4bit: true,
        use_peft: false,
        fp16: true,
        dtype: 'float16',
        save_strategy: 'best',
        push_to_hub: true,
        dataset_name: 'trl-lib/Capybara',
        learning_rate: 1,
        optimizer: { learningRate: 2 },
      },
      [
        'Write "strategy": { "use": "qlora", "options": {"quantType":"nf4"} }.',
        'Write "strategy": "full".',
        'Whetstone has no float16. Write "bf16": true.',
        'Whetstone has no float16. Write "dtype": "bfloat16".',
        'Write "training": {"saveStrategy":"epoch","loadBestModelAtEnd":true}.',
        'Remove "push_to_hub": true.',
        'Write "data": {"train":"trl-lib/Capybara"}, with the path',
        'It means optimizer.learningRate, which is also set. Remove "learning_rate".',
      ],
    ],
    [
      { strategy: 'full', lora_r: 3, bnb_4bit_quant_type: 'int8' },
      ['Write "strategy": "lora".', 'Write "strategy": "qlora".'],
    ],
  ])('%j is refused with the lines to write', async (fields, hints) => {
    const error = await refusal({ ...minimal, ...fields });
    expect(error?.problems.map((problem) => problem.hint)).toEqual(hints.map((hint) => expect.stringContaining(hint)));
  });
});
