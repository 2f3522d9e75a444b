import type { Json } from '../contract/index.js';
import { fixedFields } from './fixed-fields.js';
import type { ImportContext, Imported, ImportField } from './normalize.js';
import { isObject, valueAt } from './slots.js';

const at =
  (path: string): ImportField =>
  (value) => ({ path, value });

/** Returns the JSON of a key and its value, as one writes it in a configuration. */
export const lineOf = (key: string, value: Json): string => `"${key}": ${JSON.stringify(value)}`;

/** Turns `per_device_train_batch_size` into `perDeviceTrainBatchSize`. */
export const camelCase = (name: string): string =>
  name.replaceAll(/(?<!_)_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** PEFT's names of options, where a plugin has the option. Names whose camelCase form is the option are not listed. */
export const peftNames: { readonly [name: string]: string } = {
  r: 'rank',
  lora_r: 'rank',
  lora_alpha: 'alpha',
  lora_dropout: 'dropout',
  lora_target_modules: 'targetModules',
  lora_modules_to_save: 'modulesToSave',
  bnb_4bit_quant_type: 'quantType',
  bnb_4bit_use_double_quant: 'doubleQuantization',
  use_bnb_nested_quant: 'doubleQuantization',
  bnb_4bit_compute_dtype: 'computeDtype',
};

/** The fields of PEFT, bitsandbytes and TRL's ModelConfig that are options of the strategy, with their defaults. */
const strategyFields: { readonly [name: string]: readonly Json[] } = {
  r: [8],
  lora_r: [16],
  lora_alpha: [8, 32],
  lora_dropout: [0, 0.05],
  lora_target_modules: [],
  target_modules: [],
  exclude_modules: [],
  lora_modules_to_save: [],
  modules_to_save: [],
  bias: ['none'],
  use_rslora: [false],
  use_dora: [false],
  init_lora_weights: [true],
  layers_to_transform: [],
  layers_pattern: [],
  rank_pattern: [{}],
  alpha_pattern: [{}],
  trainable_token_indices: [],
  bnb_4bit_quant_type: ['nf4', 'fp4'],
  use_bnb_nested_quant: [false],
  bnb_4bit_use_double_quant: [false],
  bnb_4bit_compute_dtype: ['float32'],
};

const isDefault: Imported = { ignored: 'it is a default' };
const isNeutral: Imported = { ignored: 'it changes no number' };

const isOneOf = (value: Json, values: readonly Json[]): boolean =>
  values.some((each) => JSON.stringify(each) === JSON.stringify(value));

/** Returns what a field that is an option of the strategy means in a configuration. */
function importStrategyField(
  name: string,
  value: Json,
  { config, strategyOptions }: ImportContext,
): Imported | undefined {
  const isUsed = valueAt(config, ['strategy']) !== undefined;
  const usesPeft = valueAt(config, ['use_peft']);
  if (usesPeft === false) return { ignored: 'use_peft is false' };
  // `use_peft` sets the strategy first.
  if (!isUsed && usesPeft === true) return undefined;
  if (!isUsed) return { hint: `It is an option of a strategy. Write ${lineOf('strategy', 'lora')} beside it.` };
  const option = peftNames[name] ?? camelCase(name);
  if (strategyOptions !== null && !strategyOptions.includes(option)) {
    if (value === null || isOneOf(value, strategyFields[name] ?? [])) return isDefault;
    const use =
      option === 'quantType' || option === 'doubleQuantization' || option === 'computeDtype' ? 'qlora' : 'lora';
    return { hint: `The strategy has no option ${option}. Write ${lineOf('strategy', use)}.` };
  }
  if (value === null)
    return option === 'targetModules'
      ? {
          hint:
            'PEFT then chooses the modules by the architecture. For most, ' +
            `write ${lineOf(name, ['q_proj', 'v_proj'])}.`,
        }
      : isDefault;
  return { path: `strategy.options.${option}`, value: optionValue(option, value) };
}

/** Returns the value of an option that PEFT also writes in another form. */
function optionValue(option: string, value: Json): Json {
  const [indices, ...others] =
    option === 'trainableTokenIndices' && isObject(value) ? (Object.values(value) as Json[]) : [];
  return indices !== undefined && others.length === 0 ? indices : value;
}

const optimizers: { readonly [start: string]: string } = { adamw: 'adamw', paged_adamw: 'adamw', sgd: 'sgd' };

function importOptimizer(value: Json): Imported {
  const start = Object.keys(optimizers).find(
    (name) => typeof value === 'string' && (name === 'sgd' ? value === name : value.startsWith(name)),
  );
  const use = start === undefined ? undefined : optimizers[start];
  return use === undefined && typeof value === 'string' && value.includes('_')
    ? { hint: `Whetstone has no such optimizer. Write ${lineOf('optim', 'adamw_torch')}.` }
    : { path: 'optimizer.use', value: use ?? value };
}

/** Returns the entries of a dictionary, which TRL also accepts as JSON text. */
function entriesOf(value: Json): readonly (readonly [string, Json])[] | null {
  if (typeof value === 'string') {
    try {
      return entriesOf(JSON.parse(value) as Json);
    } catch {
      return null;
    }
  }
  return isObject(value) ? Object.entries(value as { readonly [key: string]: Json }) : null;
}

function importDtype(value: Json): Imported {
  if (value === 'float16' || value === 'half')
    return { hint: `Whetstone has no float16. Write ${lineOf('dtype', 'bfloat16')}.` };
  return { path: 'model.dtype', value };
}

function importModelOptions(value: Json): Imported {
  const entries = entriesOf(value) ?? [];
  const further = entries.filter(
    ([key]) => !['dtype', 'torch_dtype', 'attn_implementation', 'use_cache'].includes(key),
  );
  if (further.length > 0)
    return { hint: `Only the dtype of the model can be set. Remove ${further.map(([key]) => `"${key}"`).join(', ')}.` };
  const dtype = entries.find(([key]) => key.endsWith('dtype'));
  return dtype === undefined ? isNeutral : importDtype(dtype[1]);
}

const noSchedule = ['reduce_lr_on_plateau', 'greedy'];

/**
 * The options of TRL and transformers that Whetstone names differently. Options whose camelCase form is a key of the
 * schema (`per_device_train_batch_size`) are not listed.
 */
const renamedFields: { readonly [name: string]: ImportField } = {
  model_name_or_path: at('model.path'),
  output_dir: at('output.folder'),
  overwrite_output_dir: at('output.overwrite'),
  lr_scheduler_type: (value) =>
    noSchedule.includes(String(value))
      ? { hint: `Whetstone has no such schedule. Write ${lineOf('lr_scheduler_type', 'cosine')}.` }
      : { path: 'schedule.use', value },
  lr_scheduler_kwargs: (value) =>
    entriesOf(value)?.map(([key, own]) => ({ path: `schedule.${camelCase(key)}`, value: own })) ?? {
      hint: `It is not an object. Write ${lineOf('lr_scheduler_kwargs', { num_cycles: 1 })}.`,
    },
  optim: importOptimizer,
  warmup_ratio: (value) => (value === 0 ? isDefault : { path: 'schedule.warmupSteps', value }),
  bf16: (value) => ({ path: 'backend.matmul', value: value === true ? 'bfloat16' : 'float32' }),
  fp16: (value) => (value === false ? isDefault : { hint: `Whetstone has no float16. Write ${lineOf('bf16', true)}.` }),
  dtype: importDtype,
  torch_dtype: importDtype,
  model_init_kwargs: importModelOptions,
  train_file: at('data.train'),
  eval_file: at('data.eval'),
  dataset_name: (value) => ({
    hint: `Data is read from files. Write ${lineOf('data', { train: value })}, with the path of the files.`,
  }),
  dataset_num_proc: at('data.workers'),
  pad_to_multiple_of: (value) =>
    value === 'auto'
      ? isDefault
      : { path: 'data.padToMultipleOf', value: typeof value === 'string' && value !== '' ? Number(value) : value },
  max_seq_length: at('data.maxLength'),
  group_by_length: (value) =>
    value === true ? { path: 'data.trainSamplingStrategy', value: 'group_by_length' } : isDefault,
  evaluation_strategy: at('training.evalStrategy'),
  save_strategy: (value) =>
    value === 'best'
      ? {
          hint:
            'The best checkpoint is kept in addition to others. ' +
            `Write ${lineOf('training', { saveStrategy: 'epoch', loadBestModelAtEnd: true })}.`,
        }
      : { path: 'training.saveStrategy', value },
  metric_for_best_model: at('training.metricForBestModel'),
  ddp_bucket_cap_mb: at('training.ddpBucketCapMb'),
  save_total_limit: (value) => ({
    path: 'training.saveTotalLimit',
    value: typeof value === 'number' && value <= 0 ? null : value,
  }),
  eval_on_start: (value) =>
    value === false
      ? isDefault
      : { hint: `To evaluate at the start and at the end, write ${lineOf('eval_strategy', 'ends')}.` },
  logging_strategy: (value) =>
    value === 'steps'
      ? isDefault
      : { hint: `Every step is logged. To log fewer, write ${lineOf('logging_steps', 100)} instead.` },
};

const adamFields: { readonly [name: string]: Json } = { adam_beta1: 0.9, adam_beta2: 0.999, adam_epsilon: 1e-8 };

/**
 * Returns what a field of TRL, transformers or PEFT means. Returns undefined for a name that they do not have, or whose
 * camelCase form is a key of the configuration.
 */
export function importField(name: string, value: Json, context: ImportContext): Imported | undefined {
  if (Object.hasOwn(strategyFields, name)) return importStrategyField(name, value, context);
  const optimizer = valueAt(context.config, ['optimizer', 'use']) ?? valueAt(context.config, ['optimizer']);
  if (Object.hasOwn(adamFields, name) && adamFields[name] === value && typeof optimizer === 'string')
    return optimizer === 'adamw' ? undefined : isDefault;
  // Only a length of null has a meaning of its own.
  if (Object.hasOwn(renamedFields, name))
    return value === null && name !== 'max_seq_length' ? isDefault : renamedFields[name]?.(value, context);
  if (!Object.hasOwn(fixedFields, name)) return undefined;
  const field = fixedFields[name];
  if (field === undefined || field.values === 'any' || isOneOf(value, field.values))
    return field?.values === 'any' ? isNeutral : isDefault;
  return { hint: `${field.refusal} ${field.line ?? `Remove ${lineOf(name, value)}.`}` };
}

/** Returns whether a name is a field of PEFT that can be among the options of a strategy. */
export const isStrategyField = (name: string): boolean =>
  Object.hasOwn(strategyFields, name) || fixedFields[name]?.of === 'strategy';
