import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import {
  defaultsOf,
  WhetstoneError,
  type Attachment,
  type EffectiveWeight,
  type ExportedAdapter,
  type Json,
  type LanguageModel,
  type SavedState,
  type Strategy,
  type StrategyRun,
} from '@whetstone/core/contract';
import { warnAboutAdapter } from '../adapters/base-model.js';
import { unreported, withAdapter } from '../adapters/read-adapter-folder.js';
import { mergedWeights, type MergedWeights } from '../support/merged-weights.js';
import { mergeLora } from './adapter.js';
import { checkBaseWeights, continuedAdapter, copyAdapterValues, planContinued } from './continue-adapter.js';
import { peftPrefix } from './from-peft.js';
import { installLora, type InstalledLora } from './install.js';
import { loraConfigSchema, type LoraOptions } from './options.js';
import { planLora } from './plan.js';
import { unusedLoraOptions } from './unused-options.js';
import { loraVariants, selectVariant } from './variants/index.js';
import type { LoraLayer, LoraVariant } from './variants/variant.js';

/**
 * Creates the exported adapter. A variant may export other tensors than the trained ones; those are kept until
 * `dispose`.
 */
function createExport(
  layers: readonly LoraLayer[],
  trainable: ReadonlyMap<string, Variable>,
  config: Json,
): { exported(): ExportedAdapter; dispose(): void } {
  const converted: Tensor[] = [];
  const dispose = (): void => {
    for (const tensor of converted.splice(0)) tensor.dispose();
  };
  return {
    dispose,
    exported: () => {
      dispose();
      const tensors = new Map<string, Tensor>(trainable);
      for (const layer of layers)
        for (const [ending, tensor] of Object.entries(layer.export?.() ?? {})) {
          converted.push(tensor);
          tensors.set(`${peftPrefix}${layer.site.name}.${ending}`, tensor);
        }
      return { tensors, config };
    },
  };
}

/**
 * Returns whether LoRA+ raises the learning rate of a parameter. As in PEFT's `create_loraplus_optimizer`, that applies
 * to B and to all vectors (biases, norms, DoRA's magnitudes).
 */
const hasRaisedRate = (name: string, trainable: ReadonlyMap<string, Variable>): boolean =>
  name.endsWith('.lora_B.weight') || trainable.get(name)?.rank === 1;

/** Returns the weights that an adapter changes, by parameter name. */
const effectiveWeightsOf = ({ layers, saved }: InstalledLora): ReadonlyMap<string, EffectiveWeight> =>
  new Map<string, EffectiveWeight>([
    ...layers.map(({ site, merge }) => [`${site.name}.weight`, { site, weight: merge }] as const),
    ...[...saved].map(([name, parameter]) => [name, { site: null, weight: () => parameter }] as const),
  ]);

/** Returns what a checkpoint stores in addition to the trained variables: state of layers and of dropout. */
function saveLoraState({ layers, dropout }: InstalledLora): SavedState {
  const tensors = new Map<string, Tensor>();
  for (const layer of layers)
    for (const [name, tensor] of Object.entries(layer.saveState?.() ?? {}))
      tensors.set(`${layer.site.name}.${name}`, tensor);
  return { tensors, values: { dropout: dropout.saveState() } };
}

function loadLoraState({ layers, dropout }: InstalledLora, { tensors, values }: SavedState): void {
  dropout.loadState((values as { readonly dropout?: Json } | null)?.dropout);
  for (const layer of layers) layer.loadState?.((name) => tensors.get(`${layer.site.name}.${name}`));
}

/**
 * Creates the merge of an adapter. `merge` computes the merged weights and throws `CONFIG_CONFLICT` if the model cannot
 * store them. `apply` assigns them, once the adapter is removed; it does nothing if they were not computed.
 */
function createMerge(
  model: LanguageModel,
  exported: () => ExportedAdapter,
  variant: LoraVariant,
): { merge(): void; apply(): void } {
  let merged: MergedWeights | null = null;
  return {
    merge: () => {
      merged?.dispose();
      merged = mergedWeights(model, mergeLora(model, exported(), [variant, ...loraVariants]));
      if (!merged.untiesHead) return;
      throw new WhetstoneError(
        'CONFIG_CONFLICT',
        'The adapter trains the head separately from the embedding with which it shares a weight, so they cannot ' +
          'be merged into one matrix.',
        { place: { path: 'strategy.options.modulesToSave' }, hint: 'Remove the head from modulesToSave.' },
      );
    },
    apply: () => {
      for (const [name, weight] of merged?.weights ?? [])
        model.parameters.get(name)?.assign(weight as ReturnType<Variable['clone']>);
      merged?.dispose();
    },
  };
}

/** Attaches a new adapter. The base is frozen. */
function attachLora(model: LanguageModel, options: LoraOptions, variant: LoraVariant, run: StrategyRun): Attachment {
  const installed = installLora(model, options, variant, run);
  const { layers, trainable, config } = installed;
  const adapter = createExport(layers, trainable, config);
  const merging = createMerge(model, adapter.exported, variant);
  const { loraPlusRatio } = options;
  return {
    trainable,
    learningRateScale:
      loraPlusRatio === null ? undefined : (name) => (hasRaisedRate(name, trainable) ? loraPlusRatio : 1),
    effectiveWeights: () => effectiveWeightsOf(installed),
    exportAdapter: adapter.exported,
    saveState: () => saveLoraState(installed),
    loadState: (state) => loadLoraState(installed, state),
    merge: merging.merge,
    dispose: () => {
      adapter.dispose();
      installed.remove();
      merging.apply();
    },
  };
}

/**
 * Creates the strategy `lora`: low-rank adaptation of linear layers.
 *
 * @param options the options that are set; beside `adapter`, each must agree with the adapter, even if it is a default
 * @param variants the kinds of adapted layers; the first one that the options select is used
 */
export function loraStrategy(
  options: Partial<LoraOptions> = {},
  variants: readonly LoraVariant[] = loraVariants,
): Strategy {
  const resolved: LoraOptions = { ...defaultsOf(loraConfigSchema), ...options };
  if (resolved.useDora && resolved.initLoraWeights === 'pissa') {
    throw new WhetstoneError('CONFIG_CONFLICT', 'DoRA and PiSSA cannot be combined.', {
      place: { path: 'strategy.options' },
      hint: 'Remove useDora or initLoraWeights.',
    });
  }
  const { adapter } = resolved;
  if (adapter !== null) return continuedStrategy(adapter, options, variants);
  const variant = selectVariant(resolved, variants);
  return {
    role: 'owner',
    changeableOptions,
    plan: (model) => ({
      ...planLora(model, resolved, variant),
      unusedOptions: unusedLoraOptions(model, resolved, options),
    }),
    attach: (model, run) => attachLora(model, resolved, variant, run),
  };
}

/** They decide how the adapter is trained, not what it is. */
const changeableOptions = ['dropout', 'loraPlusRatio'];

/** Creates the strategy that continues the training of a stored adapter. */
function continuedStrategy(
  folder: string,
  configured: Partial<LoraOptions>,
  variants: readonly LoraVariant[],
): Strategy {
  return {
    role: 'owner',
    changeableOptions,
    plan: (model) =>
      withAdapter(
        folder,
        (files) => planContinued(model, continuedAdapter(configured, files, variants), files),
        unreported,
      ),
    attach: (model, run) =>
      withAdapter(
        folder,
        async (files) => {
          const continued = continuedAdapter(configured, files, variants);
          planContinued(model, continued, files);
          checkBaseWeights(model, files);
          await warnAboutAdapter(model, files, run);
          const attachment = attachLora(model, continued.options, continued.variant, run);
          copyAdapterValues(attachment.trainable, files);
          return attachment;
        },
        { warn: run.warn },
      ),
  };
}
