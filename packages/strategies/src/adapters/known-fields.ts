import type { AdapterFiles, Problem } from '@whetstone/core/contract';
import { isRecord, ownValue } from '@whetstone/core/util';
import { configFile, type ConfigFields } from './adapter-files.js';

/** Fields of every type of adapter, as of PEFT 0.21. */
const common = [
  'auto_mapping',
  'base_model_name_or_path',
  'inference_mode',
  'modules_to_save',
  'peft_type',
  'peft_version',
  'revision',
  'task_type',
];

const virtualTokens = [
  'num_attention_heads',
  'num_layers',
  'num_transformer_submodules',
  'num_virtual_tokens',
  'token_dim',
];

/**
 * The fields that are read, and those that do not change what a trained adapter computes: they concern training, its
 * start, or other kinds of layers.
 */
const accepted: Readonly<Record<string, readonly string[]>> = {
  LORA: [
    'alpha_pattern',
    'bias',
    'corda_config',
    'ensure_weight_tying',
    'eva_config',
    'exclude_modules',
    'fan_in_fan_out',
    'init_lora_weights',
    'layers_pattern',
    'layers_to_transform',
    'loftq_config',
    'lora_alpha',
    'lora_dropout',
    'lora_ga_config',
    'megatron_config',
    'megatron_core',
    // Of versions before 0.4.
    'merge_weights',
    'qalora_group_size',
    'r',
    'rank_pattern',
    'runtime_config',
    'target_modules',
    'trainable_token_indices',
    'use_dora',
    'use_rslora',
  ],
  IA3: ['exclude_modules', 'fan_in_fan_out', 'feedforward_modules', 'init_ia3_weights', 'target_modules'],
  PREFIX_TUNING: [...virtualTokens, 'encoder_hidden_size', 'init_weights', 'prefix_projection'],
  PROMPT_TUNING: [
    ...virtualTokens,
    'prompt_tuning_init',
    'prompt_tuning_init_text',
    'tokenizer_kwargs',
    'tokenizer_name_or_path',
  ],
  P_TUNING: [
    ...virtualTokens,
    'encoder_dropout',
    'encoder_hidden_size',
    'encoder_num_layers',
    'encoder_reparameterization_type',
  ],
};

/** Fields of variants that are not supported, which change what an adapter computes unless they are off. */
const refused: Readonly<Record<string, readonly string[]>> = {
  LORA: [
    'alora_invocation_tokens',
    'arrow_config',
    // Of versions before 0.4.
    'enable_lora',
    'kasa_config',
    'layer_replication',
    'lora_bias',
    'monteclora_config',
    'target_parameters',
    'use_bdlora',
    'use_qalora',
    'velora_config',
  ],
};

const isOff = (value: unknown): boolean =>
  value === undefined || value === null || value === false || (Array.isArray(value) && value.length === 0);

/** Returns a problem for each field that changes what the adapter computes and that is not supported. */
export function refusedFields(fields: ConfigFields, { folder }: AdapterFiles): Problem[] {
  const problemOf = (key: string, expected: string): Problem => ({
    message: `${key} is not supported.`,
    place: { file: configFile(folder), path: key },
    expected,
    found: JSON.stringify(fields.raw(key)),
  });
  const variants = ownValue(refused, fields.stringOrNull('peft_type') ?? '') ?? [];
  const submodules = fields.raw('num_transformer_submodules') ?? 1;
  return [
    ...variants.filter((key) => !isOff(fields.raw(key))).map((key) => problemOf(key, 'no value, null or false')),
    // Two are an encoder and a decoder.
    ...(submodules === 1 ? [] : [problemOf('num_transformer_submodules', '1 or null')]),
  ];
}

/**
 * Returns a warning that names the fields of an adapter's configuration that are unknown, such as those of a later
 * version of PEFT; null if there are none, or if only a plugin knows the type.
 */
export function unknownFieldsWarning({ config, folder }: AdapterFiles): string | null {
  if (!isRecord(config)) return null;
  const type = String(config['peft_type']);
  const own = ownValue(accepted, type);
  if (own === undefined) return null;
  const known = new Set([...common, ...own, ...(ownValue(refused, type) ?? [])]);
  const unknown = Object.keys(config).filter((key) => !known.has(key));
  if (unknown.length === 0) return null;
  return (
    `${configFile(folder)} has fields that are not known and are ignored: ${unknown.join(', ')}. If they change what ` +
    'the adapter computes, its results differ from those of the program that wrote it.'
  );
}
