import type { Variable } from '@tensorflow/tfjs-core';
import {
  WhetstoneError,
  type LanguageModel,
  type Logger,
  type ModelOutline,
  type Strategy,
} from '@whetstone/core/contract';
import { frozenLayersBelow } from '../support/frozen-layers-below.js';
import { unfreeze } from '../support/unfreeze.js';
import { chooseParameters, type ChoiceOptions } from './choose-parameters.js';
import { createStateCache, type CacheLimits, type CacheSavings, type StateCache } from './state-cache.js';

export interface FrozenLayersOptions extends ChoiceOptions {
  readonly unfreezeEverySteps?: number;
  readonly cacheFrozenPrefix?: boolean | Partial<CacheLimits>;
  readonly logger?: Logger;
}

/** Layers that are trained at `step` updates done, under gradual unfreezing: from this index up. */
function lowestUnfrozenLayer(layers: readonly number[], everySteps: number | undefined, step: number): number {
  const sorted = [...new Set(layers)].sort((one, other) => other - one);
  const taken = everySteps === undefined ? sorted.length : Math.min(sorted.length, 1 + Math.floor(step / everySteps));
  return sorted[taken - 1] ?? 0;
}

/**
 * A cache where one is asked for and can serve. @throws CONFIG_CONFLICT where no layer is frozen, or the embeddings are
 * not.
 */
function cacheOf(
  { cacheFrozenPrefix: wanted = false }: FrozenLayersOptions,
  model: ModelOutline,
  chosen: ReadonlyMap<string, number | null>,
): StateCache | null {
  checkCache(wanted, model, chosen);
  return wanted === false ? null : createStateCache(wanted === true ? {} : wanted, model.hiddenSize);
}

function checkCache(
  wanted: FrozenLayersOptions['cacheFrozenPrefix'],
  model: ModelOutline,
  chosen: ReadonlyMap<string, number | null>,
): void {
  if (wanted === undefined || wanted === false || (frozenLayersBelow(model, chosen.keys()) ?? 0) > 0) return;
  throw new WhetstoneError(
    'CONFIG_CONFLICT',
    'cacheFrozenPrefix has nothing to keep: the first layer or the embeddings are trained.',
    {
      place: { path: 'strategy.options.cacheFrozenPrefix' },
      hint: 'Freeze embeddings (a head tied to them too) and the first layers, or leave cacheFrozenPrefix out.',
    },
  );
}

/**
 * Trains a part of the model's own parameters and freezes the rest. Under gradual unfreezing (ULMFiT, Howard and Ruder,
 * 2018), `trainable` grows from the top layer down; the optimizer keeps its moments by name. Layers below the first
 * trained one are computed without a gradient tape. With `cacheFrozenPrefix` they are computed only once. Reports
 * then contain `cachedTokens`, the number of tokens so far that were not computed again. `cachedSeconds` is the
 * time that they took the first time, less the time to fetch them.
 */
export function frozenLayersStrategy(given: FrozenLayersOptions = {}): Strategy {
  const options = { ...given };
  return {
    role: 'owner',
    plan: (model) => {
      const chosen = chooseParameters(model, options);
      checkCache(options.cacheFrozenPrefix, model, chosen);
      return { trainable: new Map([...chosen.keys()].map((name) => [name, model.parameters.get(name)?.shape ?? []])) };
    },
    attach: (model) => {
      const chosen = chooseParameters(model, options);
      const layers = [...chosen.values()].filter((layer) => layer !== null);
      const cache = cacheOf(options, model, chosen);
      let trainable = new Map<string, Variable>();
      let freezeAgain = (): void => {};
      let lowest: number | null = null;
      const unfreezeFrom = (next: number): void => {
        if (next === lowest) return;
        lowest = next;
        freezeAgain();
        trainable = new Map(
          [...chosen].flatMap(([name, layer]) => {
            const parameter = model.parameters.get(name);
            return parameter === undefined || (layer !== null && layer < next) ? [] : [[name, parameter] as const];
          }),
        );
        freezeAgain = unfreeze(trainable.values());
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
          freezeAgain();
          if (cache === null) return;
          options.logger?.info(describeSavings(cache.savings));
          cache.dispose();
        },
      };
    },
  };
}

/** Tells the model what of it never changes. What was kept belongs to another boundary, and is dropped. */
function freezePrefix(model: LanguageModel, trained: Iterable<string>, cache: StateCache | null): void {
  cache?.clear();
  const layers = frozenLayersBelow(model, trained);
  const keeps = cache !== null && layers !== null && layers > 0;
  model.setFrozenPrefix?.(layers === null ? null : { layers, ...(keeps ? { states: cache.states } : {}) });
}

const percent = (part: number, whole: number): string => `${(whole === 0 ? 0 : (100 * part) / whole).toFixed(1)} %`;

function describeSavings({ tokens, computedTokens, seconds, computeSeconds, samples, bytes }: CacheSavings): string {
  return (
    `cacheFrozenPrefix: ${tokens} of ${tokens + computedTokens} tokens ` +
    `(${percent(tokens, tokens + computedTokens)}) were not computed again in the frozen layers, ` +
    `about ${seconds.toFixed(1)} s saved beside ${computeSeconds.toFixed(1)} s spent there; ${samples} samples ` +
    `kept, ${(bytes / 2 ** 20).toFixed(1)} MiB`
  );
}
