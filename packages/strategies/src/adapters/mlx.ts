import { tidy, transpose, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { WhetstoneError, type Json, type LanguageModel } from '@whetstone/core/contract';
import { loraOptionsOf, peftPrefix } from '../lora/from-peft.js';
import { loraScale, valueByPattern } from '../lora/options.js';
import { configFile, readFields, type AdapterFiles } from './adapter-files.js';

/** File names of mlx-lm's adapter layout. */
export const mlxFiles = { config: 'adapter_config.json', tensors: 'adapters.safetensors' } as const;

interface MlxConfig {
  readonly fine_tune_type?: string;
  readonly num_layers?: number;
  readonly lora_parameters?: { readonly rank?: number; readonly scale?: number; readonly dropout?: number };
}

/** Whether a configuration is mlx-lm's rather than PEFT's. */
export function isMlxConfig(config: Json): boolean {
  return typeof config === 'object' && config !== null && !Array.isArray(config) && 'lora_parameters' in config && !('peft_type' in config);
}

/**
 * mlx-lm's LoRA as PEFT's: `lora_a` [in, rank] and `lora_b` [rank, out] are transposed, `scale` becomes alpha = scale · rank. The result's tensors are
 * the caller's too.
 * @throws ADAPTER_INVALID for fine-tunes that are no LoRA, and files that hold something else.
 */
export function adapterFromMlx({ config, tensors, folder }: AdapterFiles): AdapterFiles {
  const { fine_tune_type: type = 'lora', lora_parameters: parameters = {} } = config as MlxConfig;
  const { rank = 8, scale = 10, dropout = 0 } = parameters;
  const file = configFile(folder);
  if (type !== 'lora') throw new WhetstoneError('ADAPTER_INVALID', 'Of mlx-lm\'s adapters only LoRA can be read.', { place: { file, path: 'fine_tune_type' }, expected: 'lora', found: type });
  const unknown = [...tensors.keys()].filter((name) => !/\.lora_[ab]$/.test(name));
  if (tensors.size === 0 || unknown.length > 0) {
    throw new WhetstoneError('ADAPTER_INVALID', 'The file holds something else than LoRA matrices.', { place: { file: folder ?? mlxFiles.tensors }, expected: 'keys ending with .lora_a and .lora_b', found: unknown.join(', ') || 'nothing' });
  }
  const converted = new Map<string, Tensor>();
  for (const [name, tensor] of tensors) {
    const module = name.replace(/\.lora_[ab]$/, '');
    converted.set(`${peftPrefix}${module}.lora_${name.endsWith('a') ? 'A' : 'B'}.weight`, tidy(() => transpose(tensor as Tensor2D)));
  }
  const modules = [...new Set([...tensors.keys()].map((name) => name.replace(/\.lora_[ab]$/, '')))].sort();
  return {
    config: { peft_type: 'LORA', task_type: 'CAUSAL_LM', r: rank, lora_alpha: scale * rank, lora_dropout: dropout, target_modules: modules, bias: 'none' },
    tensors: converted,
    ...(folder === undefined ? {} : { folder }),
  };
}

/**
 * A LoRA adapter in mlx-lm's layout. The result's tensors are the caller's.
 * @throws ADAPTER_INVALID where mlx-lm has no such thing: DoRA, other ranks or scales for some modules, whole modules, biases.
 */
export function adapterToMlx(model: LanguageModel, files: AdapterFiles): AdapterFiles {
  const fields = readFields(files);
  const options = loraOptionsOf(fields, files);
  const names = [...files.tensors.keys()];
  const modules = names.filter((name) => name.endsWith('.lora_A.weight')).map((name) => name.slice(peftPrefix.length, -'.lora_A.weight'.length));
  const scales = new Set(modules.map((module) => {
    const rank = valueByPattern(options.rankPattern, module, options.rank, 'rank_pattern');
    return `${rank} ${loraScale(valueByPattern(options.alphaPattern, module, options.alpha, 'alpha_pattern'), rank, options.useRslora)}`;
  }));
  const isPlain = fields.stringOrNull('peft_type') === 'LORA' && !options.useDora && scales.size === 1 && names.every((name) => /\.lora_[AB]\.weight$/.test(name));
  if (!isPlain) throw new WhetstoneError('ADAPTER_INVALID', 'mlx-lm\'s layout holds plain LoRA of one rank and scale only.', { place: { file: configFile(files.folder) }, found: options.useDora ? 'DoRA' : scales.size > 1 ? `ranks and scales ${[...scales].join(', ')}` : names.find((name) => !/\.lora_[AB]\.weight$/.test(name)) ?? 'another kind of adapter' });
  const [rank = 0, scale = 0] = ([...scales][0] ?? '').split(' ').map(Number);
  return {
    config: { fine_tune_type: 'lora', num_layers: model.layers, lora_parameters: { rank, scale, dropout: options.dropout, keys: [...new Set(modules.map((module) => module.replace(/^.*?\.\d+\./, '')))] } },
    tensors: new Map([...files.tensors].map(([name, tensor]) => [name.slice(peftPrefix.length).replace(/lora_([AB])\.weight$/, (_, part: string) => `lora_${part.toLowerCase()}`), tidy(() => transpose(tensor as Tensor2D))])),
  };
}
