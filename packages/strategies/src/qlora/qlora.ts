import type { Tensor } from '@tensorflow/tfjs-core';
import {
  defaultsOf,
  isWhetstoneError,
  WhetstoneError,
  type Attachment,
  type LanguageModel,
  type ModelOutline,
  type PackedTensor,
  type Strategy,
  type StrategyRun,
  type UnusedOption,
  type WeightStorage,
} from '@whetstone/core/contract';
import { storePacked } from '@whetstone/core/ops';
import { readFields } from '../adapters/adapter-files.js';
import { readAdapterConfig } from '../adapters/read-adapter-folder.js';
import { loraStrategy } from '../lora/lora.js';
import { belongsTo } from '../lora/saved-modules.js';
import { rememberValue } from '../support/unfreeze.js';
import { configSchema, type QloraOptions, type QuantizationOptions } from './options.js';
import { quantisedStorage, quantizationConfig, quantizationFile } from './quantization.js';

/** Quantises weights that were not quantised when they were read. Returns a function that restores the originals. */
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
 * Returns the modules that are trained completely and therefore never quantised: those of the options, or those of the
 * adapter whose training continues. Errors in its folder are reported when the strategy is attached.
 */
async function fullyTrainedModules({ adapter, modulesToSave }: QloraOptions): Promise<readonly string[]> {
  if (adapter === null) return modulesToSave ?? [];
  const config = await readAdapterConfig(adapter).catch((error: unknown) => {
    if (isWhetstoneError(error) && error.code === 'ADAPTER_INVALID') return {};
    throw error;
  });
  return readFields({ config, tensors: new Map(), folder: adapter }).strings('modules_to_save') ?? [];
}

async function attachQlora(
  model: LanguageModel,
  options: QloraOptions,
  unquantised: readonly string[],
  lora: Strategy,
  run: StrategyRun,
): Promise<Attachment> {
  const restoreWeights = quantise(model, quantisedStorage(options, unquantised));
  try {
    const adapter = await lora.attach(model, run);
    return {
      ...adapter,
      exportAdapter: () => {
        const exported = adapter.exportAdapter?.();
        if (exported === undefined) throw new WhetstoneError('INTERNAL', 'The lora strategy exported no adapter.');
        return { ...exported, files: { [quantizationFile]: quantizationConfig(options, unquantised) } };
      },
      dispose: () => {
        adapter.dispose();
        restoreWeights();
      },
    };
  } catch (error) {
    restoreWeights();
    throw error;
  }
}

/** Returns the options of 4-bit blocks beside 8-bit rows, and the quantisation if every layer is skipped. */
function unusedQuantization(
  model: ModelOutline,
  set: Partial<QloraOptions>,
  { quantType, skipModules, modulesToSave }: QloraOptions,
): UnusedOption[] {
  const skipped = [...(skipModules ?? []), ...(modulesToSave ?? [])];
  const isQuantised = [...model.linearSites.values()].some(
    ({ name, isOutput }) => !isOutput && !belongsTo(`${name}.weight`, skipped),
  );
  if (!isQuantised)
    return [{ path: 'strategy.options.quantType', reason: 'no layer is quantised: skipModules skips all of them' }];
  return quantType === 'int8' && set.doubleQuantization === true
    ? [{ path: 'strategy.options.doubleQuantization', reason: 'int8 has one scale per row, which is not quantised' }]
    : [];
}

/** Returns the entries of `skipModules` that match no linear layer that would be quantised. */
const unusedSkips = (model: ModelOutline, { skipModules }: QuantizationOptions): UnusedOption[] =>
  (skipModules ?? []).flatMap((module, index) =>
    [...model.linearSites.values()].some((site) => !site.isOutput && belongsTo(`${site.name}.weight`, [module]))
      ? []
      : [
          {
            path: `strategy.options.skipModules[${index}]`,
            reason: `${JSON.stringify(module)} matches no linear layer that would be quantised`,
          },
        ],
  );

/**
 * Creates the strategy `qlora`: LoRA with a quantised base (QLoRA, Dettmers et al. 2023). The weights of all linear
 * layers except the output layer are stored in packed form on the device. Forward and backward pass dequantise them
 * where they use them; the values equal those of bitsandbytes. `int8` stores weights like LLM.int8 and multiplies the
 * dequantised values: activations are not quantised, so outliers need no special treatment.
 *
 * In a run, weights are quantised one by one while they are read. If the model is already loaded, it is quantised in
 * place, and the original weights are restored when the strategy is detached.
 */
export async function qloraStrategy(options: Partial<QloraOptions> = {}): Promise<Strategy> {
  const resolved = { ...defaultsOf(configSchema), ...options };
  if (resolved.initLoraWeights === 'pissa') {
    throw new WhetstoneError('CONFIG_CONFLICT', 'PiSSA is not supported: it would change the quantised weights.', {
      place: { path: 'strategy.options.initLoraWeights' },
      hint: 'Remove initLoraWeights, or use the strategy lora.',
    });
  }
  const lora = loraStrategy(options);
  const unquantised = await fullyTrainedModules(resolved);
  return {
    ...lora,
    storage: quantisedStorage(resolved, unquantised),
    plan: async (model, owner) => {
      const plan = await lora.plan?.(model, owner);
      if (plan === undefined) throw new WhetstoneError('INTERNAL', 'The lora strategy has no plan.');
      return {
        ...plan,
        unusedOptions: [
          ...(plan.unusedOptions ?? []),
          ...unusedSkips(model, resolved),
          ...unusedQuantization(model, options, resolved),
        ],
      };
    },
    attach: (model, run) => attachQlora(model, resolved, unquantised, lora, run),
  };
}
