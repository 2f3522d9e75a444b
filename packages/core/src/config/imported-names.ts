import type { Json } from '../contract/index.js';
import type { ImportedValue } from './normalize.js';

const at =
  (path: string) =>
  (value: Json): ImportedValue => ({ path, value });

/** PEFT's names of options, where a plugin has the option. Names whose camelCase form is the option are not listed. */
export const peftNames: { readonly [name: string]: string } = {
  r: 'rank',
  lora_r: 'rank',
  lora_alpha: 'alpha',
  lora_dropout: 'dropout',
  lora_target_modules: 'targetModules',
};

/**
 * The options of TRL and transformers that Whetstone names differently. Options whose camelCase form is a key of the
 * schema (`per_device_train_batch_size`) are not listed.
 */
export const importedNames: { readonly [name: string]: (value: Json) => ImportedValue } = {
  model_name_or_path: at('model'),
  output_dir: at('output.folder'),
  overwrite_output_dir: at('output.overwrite'),
  lr_scheduler_type: at('schedule.use'),
  optim: (value) => ({
    path: 'optimizer.use',
    value: typeof value === 'string' && value.startsWith('adamw') ? 'adamw' : value,
  }),
  warmup_ratio: at('schedule.warmupSteps'),
  bf16: (value) => ({ path: 'backend.matmul', value: value === true ? 'bfloat16' : 'float32' }),
  lora_r: at('strategy.options.rank'),
  lora_alpha: at('strategy.options.alpha'),
  lora_dropout: at('strategy.options.dropout'),
  lora_target_modules: at('strategy.options.targetModules'),
  train_file: at('data.train'),
  eval_file: at('data.eval'),
};
