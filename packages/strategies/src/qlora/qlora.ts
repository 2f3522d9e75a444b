import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-core';
import {
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
import { defaultLoraOptions, type LoraOptions } from '../lora/options.js';
import { rememberValue } from '../support/unfreeze.js';
import { baseStorage, quantizationConfig, quantizationFile, type QuantizationOptions } from './quantization.js';

/** Options of `qlora`: those of `lora`, and how the base is quantised. */
export interface QloraOptions extends LoraOptions, QuantizationOptions {}

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
