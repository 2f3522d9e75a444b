import { gather, tensor1d, tidy, variable, type Tensor, type Tensor2D, type Variable } from '@tensorflow/tfjs-core';
import {
  defaultsOf,
  WhetstoneError,
  type Attachment,
  type EffectiveWeight,
  type ExportedAdapter,
  type Json,
  type LanguageModel,
  type LinearSite,
  type Strategy,
  type StrategyRun,
} from '@whetstone/core/contract';
import { createScalars, type Scalars } from '@whetstone/core/ops';
import { withAdapter } from '../adapters/read-adapter-folder.js';
import { frozenLayersBelow } from '../support/frozen-layers-below.js';
import { mergedWeights, type MergedWeights } from '../support/merged-weights.js';
import { mergeLora } from './adapter.js';
import { loraAdapterConfig } from './adapter-config.js';
import { continuedAdapter, copyAdapterValues, planContinued } from './continue-adapter.js';
import { createDropout } from './dropout.js';
import { peftPrefix } from './from-peft.js';
import { loraConfigSchema, rankAndScale, type LoraOptions } from './options.js';
import { planLora, savedKey, savedParameters } from './plan.js';
import { borrowParameters } from './saved-modules.js';
import { findTargets } from './targets.js';
import { attachTokenRows, tokenModules, tokenRowsKey, type TokenRows } from './token-rows.js';
import { loraVariants, selectVariant } from './variants/index.js';
import type { LoraLayer, LoraVariant } from './variants/variant.js';

/** The variables that an adapter creates, by their names in the adapter's file. */
interface TrainedTensors {
  readonly variables: Map<string, Variable>;
  /** Creates a variable and disposes its initial value. */
  create<T extends Tensor>(name: string, initial: T): T;
  /** Disposes the created variables. */
  dispose(): void;
}

function createTrainedTensors(): TrainedTensors {
  const variables = new Map<string, Variable>();
  const created: Variable[] = [];
  return {
    variables,
    create: <T extends Tensor>(name: string, initial: T): T => {
      const made = variable(initial, true);
      initial.dispose();
      variables.set(name, made);
      created.push(made);
      return made as unknown as T;
    },
    dispose: () => {
      for (const each of created) each.dispose();
    },
  };
}

/**
 * Returns the tokens whose rows are trained: the configured ones, otherwise the added ones; none if the complete
 * embedding is trained.
 */
function trainedTokens(
  model: LanguageModel,
  { trainableTokenIndices }: LoraOptions,
  saved: readonly string[],
): readonly number[] {
  const trainsEmbedding = saved.includes(`${model.embeddingSite.name}.weight`);
  if (trainsEmbedding && (trainableTokenIndices?.length ?? 0) > 0) {
    throw new WhetstoneError('CONFIG_CONFLICT', 'modulesToSave already trains the complete embedding.', {
      place: { path: 'strategy.options.trainableTokenIndices' },
      hint: 'Remove trainableTokenIndices, or the embedding from modulesToSave.',
    });
  }
  const beyond = trainableTokenIndices?.find((id) => id >= model.vocabularySize);
  if (beyond !== undefined)
    throw new WhetstoneError('CONFIG_INVALID', 'A token in trainableTokenIndices is outside of the vocabulary.', {
      place: { path: 'strategy.options.trainableTokenIndices' },
      expected: `ids below ${model.vocabularySize}`,
      found: String(beyond),
    });
  return trainsEmbedding ? [] : (trainableTokenIndices ?? model.addedTokens);
}

/** Creates the adapted layer of a site. Its variables are added to `trained`. */
function createLayer(
  site: LinearSite,
  variant: LoraVariant,
  options: LoraOptions,
  seed: number,
  trained: TrainedTensors,
  scalars: Scalars,
): LoraLayer {
  const { rank, scale } = rankAndScale(site.name, options);
  return variant.init({
    site,
    rank,
    scale,
    scaleTensor: scale === 1 ? null : scalars(scale),
    initLoraWeights: options.initLoraWeights,
    seed,
    tensor: (ending, initial) => trained.create(`${peftPrefix}${site.name}.${ending}`, initial()),
  });
}

/** Creates the trained rows of the embedding, and of an untied head, with the stored values. */
function createTokenRows(model: LanguageModel, ids: readonly number[], trained: TrainedTensors): TokenRows[] {
  if (ids.length === 0) return [];
  return tokenModules(model).map((module) => {
    const table = model.parameters.get(`${module}.weight`) as unknown as Tensor2D;
    const rows = tidy(() => gather(table, tensor1d([...ids], 'int32')));
    return { module, ids, values: trained.create(peftPrefix + tokenRowsKey(module), rows) };
  });
}

/** Declares the layers below the lowest trained one as frozen. Returns a function that revokes this. */
function freezePrefix(model: LanguageModel, trained: readonly string[]): () => void {
  const layers = frozenLayersBelow(model, trained);
  if (layers === null || layers === 0) return () => {};
  model.setFrozenPrefix?.({ layers });
  return () => model.setFrozenPrefix?.(null);
}

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

/** Attaches a new adapter. The base is frozen. */
function attachLora(
  model: LanguageModel,
  options: LoraOptions,
  variant: LoraVariant,
  { seed, modelFolder, worker = { rank: 0, count: 1 } }: StrategyRun,
): Attachment {
  const targets = findTargets(model, options);
  const savedNames = savedParameters(model, targets, options);
  const tokens = trainedTokens(model, options, savedNames);
  const trained = createTrainedTensors();
  const trainable = trained.variables;
  const scalars = createScalars();

  // The adapted layers.
  const dropout = createDropout(model, options.dropout, seed, worker, scalars);
  const layers = targets.map((site) => createLayer(site, variant, options, seed, trained, scalars));
  const unwrap = layers.map((layer) => {
    const mask = dropout.of(layer.site);
    return layer.site.wrap((base) => layer.forward(base, mask));
  });

  // Stored parameters that are trained as well, and rows of the embedding.
  const saved = borrowParameters(model, savedNames, true);
  for (const [name, parameter] of saved.parameters) trainable.set(savedKey(name, targets), parameter);
  const tokenRows = createTokenRows(model, tokens, trained);
  const restoreRows = attachTokenRows(model, tokenRows);
  const unfreezePrefix = freezePrefix(model, [
    ...targets.map(({ name }) => name),
    ...savedNames,
    ...(tokens.length === 0 ? [] : [`${model.embeddingSite.name}.weight`]),
  ]);

  const exportedOptions = variant.exportedOptions?.(options) ?? options;
  const config = loraAdapterConfig(model, targets, exportedOptions, modelFolder, tokenRows, variant.peftType);
  const adapter = createExport(layers, trainable, config);
  const { loraPlusRatio } = options;
  let merged: MergedWeights | null = null;
  return {
    trainable,
    learningRateScale:
      loraPlusRatio === null ? undefined : (name) => (hasRaisedRate(name, trainable) ? loraPlusRatio : 1),
    effectiveWeights: () =>
      new Map<string, EffectiveWeight>([
        ...layers.map(({ site, merge }) => [`${site.name}.weight`, { site, weight: merge }] as const),
        ...[...saved.parameters].map(([name, parameter]) => [name, { site: null, weight: () => parameter }] as const),
      ]),
    exportAdapter: adapter.exported,
    saveState: () => ({
      tensors: new Map(
        layers.flatMap((layer) =>
          Object.entries(layer.saveState?.() ?? {}).map(
            ([name, tensor]) => [`${layer.site.name}.${name}`, tensor] as const,
          ),
        ),
      ),
      values: { dropout: dropout.saveState() },
    }),
    loadState: ({ tensors, values }) => {
      dropout.loadState((values as { readonly dropout?: Json } | null)?.dropout);
      for (const layer of layers) layer.loadState?.((name) => tensors.get(`${layer.site.name}.${name}`));
    },
    merge: () => {
      merged?.dispose();
      merged = mergedWeights(model, mergeLora(model, adapter.exported(), [variant, ...loraVariants]));
      if (!merged.untiesHead) return;
      throw new WhetstoneError(
        'CONFIG_CONFLICT',
        'The adapter trains the head separately from the embedding with which it shares a weight, so they cannot ' +
          'be merged into one matrix.',
        { place: { path: 'strategy.options.modulesToSave' }, hint: 'Remove the head from modulesToSave.' },
      );
    },
    dispose: () => {
      adapter.dispose();
      unfreezePrefix();
      restoreRows();
      saved.dispose();
      for (const step of unwrap.reverse()) step();
      for (const each of [...layers, trained, scalars]) each.dispose();
      for (const [name, weight] of merged?.weights ?? [])
        model.parameters.get(name)?.assign(weight as ReturnType<Variable['clone']>);
      merged?.dispose();
    },
  };
}

/**
 * Creates the strategy `lora`: low-rank adaptation of linear layers.
 *
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
  if (adapter !== null) return continuedStrategy(adapter, resolved, variants);
  const variant = selectVariant(resolved, variants);
  return {
    role: 'owner',
    plan: (model) => planLora(model, resolved, variant),
    attach: (model, run) => attachLora(model, resolved, variant, run),
  };
}

/** Creates the strategy that continues the training of a stored adapter. */
function continuedStrategy(folder: string, configured: LoraOptions, variants: readonly LoraVariant[]): Strategy {
  return {
    role: 'owner',
    plan: (model) =>
      withAdapter(folder, (files) => planContinued(model, continuedAdapter(configured, files, variants), files)),
    attach: (model, run) =>
      withAdapter(folder, (files) => {
        const continued = continuedAdapter(configured, files, variants);
        planContinued(model, continued, files);
        const attachment = attachLora(model, continued.options, continued.variant, run);
        copyAdapterValues(attachment.trainable, files);
        return attachment;
      }),
  };
}
