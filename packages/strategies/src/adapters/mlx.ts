import { clone, tidy, transpose, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { WhetstoneError, type Json, type AdapterFiles } from '@whetstone/core/contract';
import { peftPrefix } from '../lora/from-peft.js';
import { configFile } from './adapter-files.js';

/** File names of mlx-lm's adapter format. */
export const mlxFiles = { config: 'adapter_config.json', tensors: 'adapters.safetensors' } as const;

interface MlxConfig {
  readonly model?: string;
  readonly fine_tune_type?: string;
  readonly num_layers?: number;
  readonly lora_parameters?: { readonly rank?: number; readonly scale?: number; readonly dropout?: number };
}

/** Returns whether a configuration is in mlx-lm's format instead of PEFT's. */
export function isMlxConfig(config: Json): boolean {
  return (
    typeof config === 'object' &&
    config !== null &&
    !Array.isArray(config) &&
    'lora_parameters' in config &&
    !('peft_type' in config)
  );
}

/**
 * Endings of tensor names in mlx-lm's format and in PEFT's. Matrices are transposed; DoRA's magnitudes are the same.
 */
export const mlxEndings = { lora_a: 'lora_A.weight', lora_b: 'lora_B.weight', m: 'lora_magnitude_vector' } as const;

/**
 * Converts a LoRA or DoRA adapter from mlx-lm's format to PEFT's. `lora_a` [in, rank] and `lora_b` [rank, out] are
 * transposed, alpha is `scale` · rank, `m` contains the magnitudes. The caller owns the tensors of the result.
 *
 * @throws `ADAPTER_INVALID` if the adapter is of another type or contains other tensors
 */
export function adapterFromMlx({ config, tensors, folder }: AdapterFiles): AdapterFiles {
  const { model = null, fine_tune_type: type = 'lora', lora_parameters: parameters = {} } = config as MlxConfig;
  const { rank = 8, scale = 10, dropout = 0 } = parameters;
  const file = configFile(folder);
  if (type !== 'lora' && type !== 'dora')
    throw new WhetstoneError('ADAPTER_INVALID', 'Only LoRA and DoRA adapters of mlx-lm are supported.', {
      place: { file, path: 'fine_tune_type' },
      expected: 'lora or dora',
      found: type,
    });
  const known = type === 'dora' ? /\.(lora_[ab]|m)$/ : /\.lora_[ab]$/;
  const unknown = [...tensors.keys()].filter((name) => !known.test(name));
  if (tensors.size === 0 || unknown.length > 0) {
    throw new WhetstoneError('ADAPTER_INVALID', 'The file contains tensors that are not LoRA matrices.', {
      place: { file: folder ?? mlxFiles.tensors },
      expected: 'keys that end with .lora_a and .lora_b, for DoRA also .m',
      found: unknown.join(', ') || 'nothing',
    });
  }
  const converted = new Map<string, Tensor>();
  for (const [name, tensor] of tensors) {
    const ending = name.slice(name.lastIndexOf('.') + 1) as keyof typeof mlxEndings;
    converted.set(
      `${peftPrefix}${name.replace(known, '')}.${mlxEndings[ending]}`,
      tidy(() => (ending === 'm' ? clone(tensor) : transpose(tensor as Tensor2D))),
    );
  }
  const modules = [...new Set([...tensors.keys()].map((name) => name.replace(known, '')))].sort();
  return {
    config: {
      peft_type: 'LORA',
      base_model_name_or_path: model,
      task_type: 'CAUSAL_LM',
      r: rank,
      lora_alpha: scale * rank,
      lora_dropout: dropout,
      target_modules: modules,
      bias: 'none',
      use_dora: type === 'dora',
    },
    tensors: converted,
    folder,
  };
}
