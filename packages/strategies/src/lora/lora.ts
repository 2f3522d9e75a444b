import {
  clone,
  gather,
  tensor1d,
  tensor2d,
  tidy,
  variable,
  zeros,
  sqrt,
  type Rank,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  type Variable,
} from '@tensorflow/tfjs-core';
import {
  WhetstoneError,
  type Attachment,
  type EffectiveWeight,
  type ExportedAdapter,
  type Json,
  type LanguageModel,
  type LinearSite,
  type Strategy,
  type WorkerRank,
} from '@whetstone/core/contract';
import { createScalars } from '@whetstone/core/ops';
import { createRandom, fillFloat32, type Random } from '@whetstone/core/random';
import { mergeAdapter, type MergedWeights } from '../adapters/merge-adapter.js';
import { loraAdapterConfig } from './adapter-config.js';
import {
  adaptedForward,
  dropoutMask,
  mergedWeight,
  squaresByOutput,
  type LoraDropout,
  type LoraLayer,
} from './layer.js';
import { peftPrefix } from './from-peft.js';
import { pissaAsLora, pissaOptionsAsLora, startPissa, type PissaStart } from './pissa.js';
import { defaultLoraOptions, loraScale, valueByPattern, type LoraOptions } from './options.js';
import { continuedOptions, planContinued, copyAdapterValues } from './continue-adapter.js';
import { withAdapter } from '../adapters/read-adapter-folder.js';
import { planLora, savedKey, savedParameters } from './plan.js';
import { borrowParameters } from './saved-modules.js';
import { frozenLayersBelow } from '../support/frozen-layers-below.js';
import { findTargets } from './targets.js';
import { attachTokenRows, tokenModules, tokenRowsKey, type TokenRows } from './token-rows.js';

/**
 * Returns the initial A, [rank, in]: Kaiming-uniform with a = √5, which is U(±1 ÷ √in), or normal with deviation 1 ÷
 * rank.
 */
function initialA(site: LinearSite, rank: number, kind: LoraOptions['initLoraWeights'], seed: number): Tensor2D {
  const random = createRandom(seed, `lora_A ${site.name}`);
  const bound = 1 / Math.sqrt(site.inFeatures);
  const draw = kind === 'gaussian' ? () => random.normal() / rank : () => (2 * random.uniform() - 1) * bound;
  return tensor2d(fillFloat32(rank * site.inFeatures, draw), [rank, site.inFeatures]);
}

/**
 * Returns the tokens whose rows are trained: the configured ones, otherwise the added ones; none if the complete
 * embedding is trained.
 */
function trainedTokens(
  model: LanguageModel,
  { trainableTokenIndices }: LoraOptions,
  saved: ReadonlyMap<string, Variable>,
): readonly number[] {
  const trainsEmbedding = saved.has(`${model.embeddingSite.name}.weight`);
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

/** Attaches a new LoRA adapter. The base is frozen. Unless PiSSA is used, the adapter has no effect at first. */
function attachLora(
  model: LanguageModel,
  options: LoraOptions,
  seed: number,
  modelFolder: string | null,
  worker: WorkerRank = { rank: 0, count: 1 },
): Attachment {
  const targets = findTargets(model, options);
  const savedNames = savedParameters(model, targets, options);
  const constants = createScalars();
  const undo: (() => void)[] = [constants.dispose];
  const trainable = new Map<string, Variable>();
  const randoms = new Map<string, Random>();
  const pissaStarts = new Map<string, PissaStart>();
  const layers: LoraLayer[] = [];
  const createTrainable = <T extends Tensor>(name: string, initial: T): T => {
    const made = variable(initial, true);
    initial.dispose();
    trainable.set(name, made);
    undo.push(() => made.dispose());
    return made as unknown as T;
  };
  const dropoutOf = (site: LinearSite): LoraDropout | null => {
    if (options.dropout === 0) return null;
    // Workers use different streams, because they process different samples.
    const random = createRandom(
      seed,
      worker.rank === 0 ? `dropout ${site.name}` : `dropout ${site.name} of worker ${worker.rank}`,
    );
    randoms.set(site.name, random);
    const shared = { rate: constants(options.dropout), gain: constants(1 / (1 - options.dropout)) };
    return (tokens) => (model.training ? dropoutMask(tokens, site.inFeatures, random, shared) : null);
  };

  for (const site of targets) {
    const rank = valueByPattern(options.rankPattern, site.name, options.rank, 'strategy.options.rankPattern');
    const alpha = valueByPattern(options.alphaPattern, site.name, options.alpha, 'strategy.options.alphaPattern');
    const scale = loraScale(alpha, rank, options.useRslora);
    const key = `${peftPrefix}${site.name}`;
    const pissa = options.initLoraWeights === 'pissa' ? startPissa(site, rank, scale, seed) : null;
    if (pissa !== null) {
      pissaStarts.set(site.name, pissa);
      undo.push(pissa.dispose);
    }
    const a = createTrainable(
      `${key}.lora_A.weight`,
      pissa === null ? initialA(site, rank, options.initLoraWeights, seed) : clone(pissa.a),
    );
    const b = createTrainable(
      `${key}.lora_B.weight`,
      pissa === null ? zeros<Rank.R2>([site.outFeatures, rank]) : clone(pissa.b),
    );
    let dora: LoraLayer['dora'] = null;
    if (options.useDora) {
      const weightSquares = squaresByOutput(site);
      undo.push(() => weightSquares.dispose());
      dora = {
        weightSquares,
        magnitude: createTrainable<Tensor1D>(
          `${key}.lora_magnitude_vector`,
          tidy(() => sqrt(weightSquares)),
        ),
      };
    }
    const layer: LoraLayer = { site, a, b, scale, scaleTensor: scale === 1 ? null : constants(scale), dora };
    layers.push(layer);
    const dropout = dropoutOf(site);
    undo.push(site.wrap((base) => adaptedForward(layer, base, dropout)));
  }
  const saved = borrowParameters(model, savedNames, true);
  undo.push(saved.dispose);
  const tokenIds = trainedTokens(model, options, saved.parameters);
  const below = frozenLayersBelow(model, [
    ...targets.map(({ name }) => name),
    ...savedNames,
    ...(tokenIds.length === 0 ? [] : [`${model.embeddingSite.name}.weight`]),
  ]);
  if (below !== null && below > 0) {
    model.setFrozenPrefix?.({ layers: below });
    undo.push(() => model.setFrozenPrefix?.(null));
  }
  for (const [name, parameter] of saved.parameters) trainable.set(savedKey(name, targets), parameter);
  const tokenRows =
    tokenIds.length === 0
      ? []
      : tokenModules(model).map((module): TokenRows => {
          const rows = tidy(() =>
            gather(model.parameters.get(`${module}.weight`) as unknown as Tensor2D, tensor1d([...tokenIds], 'int32')),
          );
          return { module, ids: tokenIds, values: createTrainable(peftPrefix + tokenRowsKey(module), rows) };
        });
  undo.push(attachTokenRows(model, tokenRows));

  const converted: Tensor[] = [];
  const disposeConverted = (): void => {
    for (const tensor of converted.splice(0)) tensor.dispose();
  };
  let merged: MergedWeights | null = null;
  const exportAdapter = (): ExportedAdapter => {
    if (options.initLoraWeights !== 'pissa')
      return {
        tensors: new Map(trainable),
        config: loraAdapterConfig(model, targets, options, modelFolder, tokenRows),
      };
    disposeConverted();
    const tensors = new Map<string, Tensor>(trainable);
    for (const { site, a, b } of layers) {
      const start = pissaStarts.get(site.name);
      if (start === undefined) continue;
      const lora = pissaAsLora(start, a, b);
      converted.push(lora.a, lora.b);
      tensors.set(`${peftPrefix}${site.name}.lora_A.weight`, lora.a);
      tensors.set(`${peftPrefix}${site.name}.lora_B.weight`, lora.b);
    }
    return { tensors, config: loraAdapterConfig(model, targets, pissaOptionsAsLora(options), modelFolder, tokenRows) };
  };
  const { loraPlusRatio } = options;
  return {
    trainable,
    ...(loraPlusRatio === null
      ? {}
      : { learningRateScale: (name: string) => (hasRaisedRate(name, trainable) ? loraPlusRatio : 1) }),
    effectiveWeights: () =>
      new Map<string, EffectiveWeight>([
        ...layers.map(
          (layer) =>
            [
              `${layer.site.name}.weight`,
              { site: layer.site, weight: () => mergedWeight(layer, pissaStarts.get(layer.site.name)?.residual) },
            ] as const,
        ),
        ...[...saved.parameters].map(([name, parameter]) => [name, { site: null, weight: () => parameter }] as const),
      ]),
    exportAdapter,
    saveState: () => ({
      tensors: new Map(
        [...pissaStarts].flatMap(
          ([name, { a, b }]) =>
            [
              [`${name}.pissa_A`, a],
              [`${name}.pissa_B`, b],
            ] as [string, Tensor][],
        ),
      ),
      values: { dropout: Object.fromEntries([...randoms].map(([name, random]) => [name, random.saveState()])) },
    }),
    loadState: ({ tensors, values }) => {
      restoreDropout(randoms, values, worker);
      for (const [name, start] of pissaStarts) {
        const [a, b] = [tensors.get(`${name}.pissa_A`), tensors.get(`${name}.pissa_B`)];
        if (a === undefined || b === undefined)
          throw new WhetstoneError(
            'CHECKPOINT_INVALID',
            'The checkpoint lacks the initial matrices of a PiSSA layer.',
            {
              place: { tensor: name },
            },
          );
        start.replaceStart(a, b);
      }
    },
    merge: () => {
      const adapter = exportAdapter();
      merged?.dispose();
      merged = mergeAdapter(model, adapter);
      if (!merged.untiesHead) return;
      throw new WhetstoneError(
        'CONFIG_CONFLICT',
        'The adapter trains the head separately from the embedding with which it shares a weight, so they cannot ' +
          'be merged into one matrix.',
        { place: { path: 'strategy.options.modulesToSave' }, hint: 'Remove the head from modulesToSave.' },
      );
    },
    dispose: () => {
      disposeConverted();
      for (const step of undo.reverse()) step();
      for (const [name, weight] of merged?.weights ?? [])
        model.parameters.get(name)?.assign(weight as ReturnType<Variable['clone']>);
      merged?.dispose();
    },
  };
}

/**
 * Returns whether LoRA+ raises the learning rate of a parameter. As in PEFT's `create_loraplus_optimizer`, that applies
 * to B and to all vectors (biases, norms, DoRA's magnitudes).
 */
const hasRaisedRate = (name: string, trainable: ReadonlyMap<string, Variable>): boolean =>
  name.endsWith('.lora_B.weight') || trainable.get(name)?.rank === 1;

/** Restores the dropout generators. Only worker 0 saves its states; the other workers derive theirs from them. */
function restoreDropout(randoms: ReadonlyMap<string, Random>, values: Json, { rank }: WorkerRank): void {
  const states = (values as { readonly dropout?: Readonly<Record<string, readonly number[]>> } | null)?.dropout ?? {};
  for (const [name, random] of randoms) {
    const state = states[name];
    if (state === undefined)
      throw new WhetstoneError('CHECKPOINT_INVALID', 'The checkpoint lacks the dropout state of a layer.', {
        expected: name,
      });
    random.loadState(
      rank === 0 ? state : state.map((word, index) => (index === 0 ? word ^ Math.imul(rank, 0x9e3779b9) : word)),
    );
    if (rank > 0) for (let round = 0; round < 12; round += 1) random.uniform();
  }
}

/** Creates the strategy `lora`: low-rank adaptation of linear layers; see {@link LoraOptions}. */
export function loraStrategy(options: Partial<LoraOptions> = {}): Strategy {
  const resolved = { ...defaultLoraOptions, ...options };
  if (resolved.useDora && resolved.initLoraWeights === 'pissa') {
    throw new WhetstoneError('CONFIG_CONFLICT', 'DoRA and PiSSA cannot be combined.', {
      place: { path: 'strategy.options' },
      hint: 'Remove useDora or initLoraWeights.',
    });
  }
  const { adapter } = resolved;
  if (adapter !== null) {
    return {
      role: 'owner',
      plan: (model) =>
        withAdapter(adapter, async (files) => planContinued(model, continuedOptions(resolved, files), files)),
      attach: (model, run) =>
        withAdapter(adapter, async (files) => {
          const options = continuedOptions(resolved, files);
          planContinued(model, options, files);
          const attachment = attachLora(model, options, run.seed, run.modelFolder, run.worker);
          copyAdapterValues(attachment.trainable, files);
          return attachment;
        }),
    };
  }
  return {
    role: 'owner',
    plan: (model) => planLora(model, resolved),
    attach: (model, run) => attachLora(model, resolved, run.seed, run.modelFolder, run.worker),
  };
}
