import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-core';
import {
  definePlugin,
  WhetstoneError,
  type Attachment,
  type LanguageModel,
  type PackedTensor,
  type Strategy,
  type StrategyRun,
  type WeightStorage,
} from '@whetstone/core/contract';
import { storePacked } from '@whetstone/core/ops';
import { loraStrategy } from '../lora/lora.js';
import { defaultLoraOptions, loraConfigSchema, type LoraOptions } from '../lora/options.js';
import { rememberValue } from '../support/unfreeze.js';
import { baseStorage, quantizationConfig, quantizationFile, type QuantizationOptions } from './quantization.js';

/** Options of `qlora`: those of `lora`, and how the base is quantised. */
export interface QloraOptions extends LoraOptions, QuantizationOptions {}

const { initLoraWeights, ...loraProperties } = loraConfigSchema.properties;

const configSchema = {
  type: 'object',
  properties: {
    quantType: {
      enum: ['nf4', 'fp4', 'int8'],
      default: 'nf4',
      description:
        'How base weights are kept: 4 bits (NormalFloat or a small float) in blocks of 64, or 8 bits with a ' +
        'scale a row.',
    },
    doubleQuantization: {
      type: 'boolean',
      default: true,
      description: 'Whether the scales of the 4-bit blocks are quantised too: 0.52 instead of 0.56 bytes a parameter.',
    },
    blockSize: { enum: [64], default: 64, description: 'Numbers that share a scale, in 4 bits.' },
    computeDtype: {
      enum: ['float32', 'bfloat16', null],
      default: null,
      description: 'What dequantised weights are multiplied in; null: as backend.matmul says.',
    },
    skipModules: {
      anyOf: [{ type: 'array', items: { type: 'string', minLength: 1 } }, { type: 'null' }],
      default: null,
      description:
        'Modules that are not quantised, by name or the end of the path. The output layer, embeddings and ' +
        'modulesToSave never are.',
    },
    ...loraProperties,
    initLoraWeights: {
      ...initLoraWeights,
      enum: [true, 'gaussian'],
      description: 'true: Kaiming-uniform A and zero B; gaussian: normal A with deviation 1/rank.',
    },
  },
  additionalProperties: false,
} as const;

const defaultQloraOptions: QloraOptions = {
  ...defaultLoraOptions,
  quantType: 'nf4',
  doubleQuantization: true,
  computeDtype: null,
  skipModules: null,
};

/** Quantises those weights that were not when they were read. The result puts the originals back. */
function quantise(model: LanguageModel, storage: WeightStorage): () => void {
  const undo: (() => void)[] = [];
  for (const site of model.linearSites.values()) {
    const name = `${site.name}.weight`;
    if (site.isOutput || model.quantised?.has(name) === true) continue;
    const pack = storage({ name, kind: 'linear', shape: site.weight.shape, fanInFanOut: site.fanInFanOut });
    if (typeof pack !== 'function') continue;
    const packed = storePacked(pack(site.weight.dataSync<'float32'>()) as PackedTensor);
    undo.push(rememberValue(site.weight).restore);
    site.weight.assign(packed as Tensor);
    packed.dispose();
  }
  return () => {
    for (const step of undo.reverse()) step();
  };
}

/**
 * Modules that are trained whole and so never quantised: those of the options, or of the adapter that is trained on.
 * What is wrong with its folder, attaching tells.
 */
function wholeModules({ adapter, modulesToSave }: QloraOptions): readonly string[] {
  if (adapter === null) return modulesToSave ?? [];
  try {
    const { modules_to_save: names } = JSON.parse(readFileSync(join(adapter, 'adapter_config.json'), 'utf8')) as {
      readonly modules_to_save?: unknown;
    };
    return Array.isArray(names) ? names.filter((name) => typeof name === 'string') : [];
  } catch {
    return [];
  }
}

async function attachQlora(
  model: LanguageModel,
  options: QloraOptions,
  kept: readonly string[],
  lora: Strategy,
  run: StrategyRun,
): Promise<Attachment> {
  const putBack = quantise(model, baseStorage(options, kept));
  try {
    const adapter = await lora.attach(model, run);
    return {
      ...adapter,
      exportAdapter: () => {
        const exported = adapter.exportAdapter?.();
        if (exported === undefined) throw new WhetstoneError('INTERNAL', 'A LoRA exports no adapter.');
        return { ...exported, files: { [quantizationFile]: quantizationConfig(options, kept) } };
      },
      dispose: () => {
        adapter.dispose();
        putBack();
      },
    };
  } catch (error) {
    putBack();
    throw error;
  }
}

/**
 * LoRA over a quantised base (QLoRA, Dettmers et al. 2023). The weights of all linear layers but the output layer are
 * kept packed on the device and dequantised where they are used, in the forward and again in the backward pass; what
 * they stand for equals bitsandbytes. `int8` keeps weights as LLM.int8 does, and multiplies their dequantised numbers:
 * activations are not quantised, so there are no outliers to take apart.
 *
 * In a run the model is quantised weight by weight while it is read. A model that is there already is quantised in
 * place, its numbers kept aside until the strategy is taken off.
 */
export function qloraStrategy(options: Partial<QloraOptions> = {}): Strategy {
  const resolved = { ...defaultQloraOptions, ...options };
  if (resolved.initLoraWeights === 'pissa') {
    throw new WhetstoneError('CONFIG_CONFLICT', 'PiSSA takes its start out of the weights, which are quantised here.', {
      place: { path: 'strategy.options.initLoraWeights' },
      hint: 'Leave out initLoraWeights, or use the strategy lora.',
    });
  }
  const lora = loraStrategy(resolved);
  const kept = wholeModules(resolved);
  return {
    ...lora,
    storage: baseStorage(resolved, kept),
    attach: (model, run) => attachQlora(model, resolved, kept, lora, run),
  };
}

export const qlora = definePlugin({
  apiVersion: 1,
  kind: 'strategy',
  name: 'qlora',
  description: 'Low-rank adapters over a base in 4 or 8 bits (NF4, FP4, int8); saved as a PEFT folder.',
  configSchema,
  create: ({ blockSize, adapter, ...options }, { baseFolder }) => {
    if (blockSize !== 64)
      throw new WhetstoneError('CONFIG_INVALID', 'Blocks are of 64 numbers.', {
        place: { path: 'strategy.options.blockSize' },
        found: String(blockSize),
      });
    return qloraStrategy({ ...options, adapter: adapter === null ? null : resolve(baseFolder, adapter) });
  },
});
