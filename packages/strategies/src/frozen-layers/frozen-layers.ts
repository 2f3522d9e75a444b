import type { Variable } from '@tensorflow/tfjs-core';
import {
  defaultsOf,
  WhetstoneError,
  type LanguageModel,
  type Logger,
  type ModelOutline,
  type RunOutline,
  type Strategy,
  type UnusedOption,
} from '@whetstone/core/contract';
import { frozenLayersBelow } from '../support/frozen-layers-below.js';
import { unfreeze } from '../support/unfreeze.js';
import { chooseParameters, unusedFrozenOptions } from './choose-parameters.js';
import { configSchema, type FrozenLayersOptions } from './options.js';
import { createStateCache, type CacheSavings, type StateCache } from './state-cache.js';

/** Returns the index of the lowest trained layer after `step` updates, with gradual unfreezing. */
function lowestUnfrozenLayer(layers: readonly number[], everySteps: number | undefined, step: number): number {
  const sorted = [...new Set(layers)].sort((one, other) => other - one);
  const count = everySteps === undefined ? sorted.length : Math.min(sorted.length, 1 + Math.floor(step / everySteps));
  return sorted[count - 1] ?? 0;
}

/** Returns the layers of the chosen parameters. */
const layersOf = (chosen: ReadonlyMap<string, number | null>): readonly number[] => [
  ...new Set([...chosen.values()].filter((layer) => layer !== null)),
];

/**
 * Returns the options that change nothing in a run of this length.
 *
 * @param layers the layers that are trained at the end; null if unknown
 */
function unusedInRun(
  { unfreezeEverySteps, cacheFrozenPrefix }: FrozenLayersOptions,
  layers: readonly number[] | null,
  { totalSteps, stepsPerEpoch, evaluations }: RunOutline,
): UnusedOption[] {
  const unused: UnusedOption[] = [];
  const further = (layers?.length ?? 2) - 1;
  if (unfreezeEverySteps !== undefined && further > 0) {
    const unfrozen = Math.floor((totalSteps - 1) / unfreezeEverySteps);
    const path = 'unfreezeEverySteps';
    if (unfrozen === 0)
      unused.push({
        path,
        reason:
          `the second layer would be trained after ${unfreezeEverySteps} steps, but the run has only ${totalSteps}: ` +
          'only the topmost layer is trained',
      });
    else if (layers !== null && unfrozen < further)
      unused.push({
        path,
        effect: 'is too large',
        reason:
          `the lowest ${further - unfrozen} of ${layers.length} layers are never trained, because the run has only ` +
          `${totalSteps} steps`,
      });
  }
  if (typeof cacheFrozenPrefix === 'object') {
    const { maxMemoryMegabytes, maxDiskMegabytes = 0 } = cacheFrozenPrefix;
    if (maxMemoryMegabytes === 0 && maxDiskMegabytes === 0)
      unused.push({ path: 'cacheFrozenPrefix', reason: 'maxMemoryMegabytes and maxDiskMegabytes are 0' });
  }
  if (cacheFrozenPrefix !== false && totalSteps <= stepsPerEpoch && evaluations !== null && evaluations < 2)
    unused.push({ path: 'cacheFrozenPrefix', reason: 'the run reads every sample only once' });
  return unused;
}

/**
 * Creates the cache if it is configured.
 *
 * @throws `CONFIG_CONFLICT` if the first layer or the embeddings are trained
 */
function cacheOf(
  { cacheFrozenPrefix: setting }: FrozenLayersOptions,
  model: ModelOutline,
  chosen: ReadonlyMap<string, number | null>,
): StateCache | null {
  checkCache(setting, model, chosen);
  return setting === false ? null : createStateCache(setting === true ? {} : setting, model.hiddenSize);
}

function checkCache(
  setting: FrozenLayersOptions['cacheFrozenPrefix'],
  model: ModelOutline,
  chosen: ReadonlyMap<string, number | null>,
): void {
  if (setting === false || (frozenLayersBelow(model, chosen.keys()) ?? 0) > 0) return;
  throw new WhetstoneError(
    'CONFIG_CONFLICT',
    'cacheFrozenPrefix has no effect: the first layer or the embeddings are trained.',
    {
      place: { path: 'strategy.options.cacheFrozenPrefix' },
      hint: 'Freeze the embeddings (also if tied to the head) and the first layers, or remove cacheFrozenPrefix.',
    },
  );
}

/**
 * Creates the strategy `frozen-layers`, which trains some of the model's parameters and freezes the others. With
 * gradual unfreezing (ULMFiT, Howard and Ruder 2018), `trainable` grows from the top layer down. Layers below the first
 * trained one are computed without gradient bookkeeping and, with `cacheFrozenPrefix`, once per sample. Reports then
 * contain `cachedTokens`, the number of tokens so far that were not computed again, and `cachedSeconds`, the estimated
 * time saved.
 */
export function frozenLayersStrategy(
  given: Partial<FrozenLayersOptions> & { readonly logger?: Logger } = {},
): Strategy {
  const { logger, ...chosenOptions } = given;
  const options = { ...defaultsOf(configSchema), ...chosenOptions };
  let plannedLayers: readonly number[] | null = null;
  return {
    role: 'owner',
    changeableOptions: ['cacheFrozenPrefix'],
    checkRun: (run) => unusedInRun(options, plannedLayers, run),
    plan: (model) => {
      const chosen = chooseParameters(model, options);
      plannedLayers = layersOf(chosen);
      checkCache(options.cacheFrozenPrefix, model, chosen);
      return {
        trainable: new Map([...chosen.keys()].map((name) => [name, model.parameters.get(name)?.shape ?? []])),
        unusedOptions: unusedFrozenOptions(model, options),
      };
    },
    attach: (model) => {
      const chosen = chooseParameters(model, options);
      const layers = layersOf(chosen);
      const cache = cacheOf(options, model, chosen);
      let trainable = new Map<string, Variable>();
      let refreeze = (): void => {};
      let lowest: number | null = null;
      const unfreezeFrom = (next: number): void => {
        if (next === lowest) return;
        lowest = next;
        refreeze();
        trainable = new Map(
          [...chosen].flatMap(([name, layer]) => {
            const parameter = model.parameters.get(name);
            return parameter === undefined || (layer !== null && layer < next) ? [] : [[name, parameter] as const];
          }),
        );
        refreeze = unfreeze(trainable.values());
        freezePrefix(model, trainable.keys(), cache);
      };
      const moveTo = (step: number): void =>
        unfreezeFrom(lowestUnfrozenLayer(layers, options.unfreezeEverySteps, step));
      moveTo(0);
      return {
        get trainable() {
          return trainable;
        },
        trainAll: () => {
          const present = lowest;
          moveTo(Infinity);
          return () => {
            if (present !== null) unfreezeFrom(present);
          };
        },
        beforeStep: ({ step, record }) => {
          moveTo(step);
          if (cache === null) return;
          record('cachedTokens', cache.savings.tokens);
          record('cachedSeconds', cache.savings.seconds);
        },
        saveState: () => ({ tensors: new Map(), values: { lowestTrainedLayer: lowest } }),
        loadState: ({ values }) => {
          const saved = (values as { readonly lowestTrainedLayer?: number | null } | null)?.lowestTrainedLayer;
          if (typeof saved === 'number') unfreezeFrom(saved);
        },
        dispose: () => {
          model.setFrozenPrefix?.(null);
          refreeze();
          if (cache === null) return;
          logger?.info(describeSavings(cache.savings));
          cache.dispose();
        },
      };
    },
  };
}

/** Sets the model's frozen prefix. Cached states belong to the previous boundary and are removed. */
function freezePrefix(model: LanguageModel, trained: Iterable<string>, cache: StateCache | null): void {
  cache?.clear();
  const layers = frozenLayersBelow(model, trained);
  const usesCache = cache !== null && layers !== null && layers > 0;
  model.setFrozenPrefix?.(layers === null ? null : { layers, ...(usesCache ? { states: cache.states } : {}) });
}

const percent = (count: number, total: number): string => `${(total === 0 ? 0 : (100 * count) / total).toFixed(1)} %`;

function describeSavings({ tokens, computedTokens, seconds, computeSeconds, samples, bytes }: CacheSavings): string {
  return (
    `cacheFrozenPrefix: ${tokens} of ${tokens + computedTokens} tokens ` +
    `(${percent(tokens, tokens + computedTokens)}) were not computed again in the frozen layers, ` +
    `about ${seconds.toFixed(1)} s saved, ${computeSeconds.toFixed(1)} s spent there; ${samples} samples ` +
    `cached, ${(bytes / 2 ** 20).toFixed(1)} MiB`
  );
}
