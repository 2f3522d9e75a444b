import { clone, tidy, transpose, type Tensor2D } from '@tensorflow/tfjs-core';
import { WhetstoneError, type LanguageModel, type AdapterFiles } from '@whetstone/core/contract';
import { configFile, readFields } from '../../packages/strategies/src/adapters/adapter-files.js';
import { mlxEndings } from '../../packages/strategies/src/adapters/mlx.js';
import { loraOptionsOf, peftPrefix } from '../../packages/strategies/src/lora/from-peft.js';
import { rankAndScale } from '../../packages/strategies/src/lora/options.js';

/**
 * Converts a LoRA adapter to mlx-lm's format. The caller owns the tensors of the result.
 *
 * @throws `ADAPTER_INVALID` if the format does not support the adapter: different ranks or scales, saved modules,
 *   biases
 */
export function adapterToMlx(model: LanguageModel, files: AdapterFiles): AdapterFiles {
  const fields = readFields(files);
  const options = loraOptionsOf(fields, files);
  const names = [...files.tensors.keys()];
  const modules = names
    .filter((name) => name.endsWith('.lora_A.weight'))
    .map((name) => name.slice(peftPrefix.length, -'.lora_A.weight'.length));
  const scales = new Set(
    modules.map((module) => {
      const { rank, scale } = rankAndScale(module, options);
      return `${rank} ${scale}`;
    }),
  );
  const foreign = names.find((name) => !/\.(lora_[AB]\.weight|lora_magnitude_vector)$/.test(name));
  const isPlain = fields.stringOrNull('peft_type') === 'LORA' && scales.size === 1 && foreign === undefined;
  if (!isPlain)
    throw new WhetstoneError(
      'ADAPTER_INVALID',
      "mlx-lm's format supports only LoRA and DoRA with a single rank and scale.",
      {
        place: { file: configFile(files.folder) },
        found: scales.size > 1 ? `ranks and scales ${[...scales].join(', ')}` : (foreign ?? 'another type of adapter'),
      },
    );
  const [rank = 0, scale = 0] = ([...scales][0] ?? '').split(' ').map(Number);
  return {
    config: {
      fine_tune_type: options.useDora ? 'dora' : 'lora',
      num_layers: model.layers,
      lora_parameters: {
        rank,
        scale,
        dropout: options.dropout,
        keys: [...new Set(modules.map((module) => module.replace(/^.*?\.\d+\./, '')))],
      },
    },
    tensors: new Map(
      [...files.tensors].map(([name, tensor]) => {
        const [mlxEnding, peftEnding] = Object.entries(mlxEndings).find(([, peft]) => name.endsWith(`.${peft}`)) ?? [
          '',
          '',
        ];
        return [
          name.slice(peftPrefix.length, -peftEnding.length) + mlxEnding,
          tidy(() => (mlxEnding === 'm' ? clone(tensor) : transpose(tensor as Tensor2D))),
        ];
      }),
    ),
  };
}
