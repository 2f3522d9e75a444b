import type { LinearSiteOutline, ModelOutline, StrategyPlan } from '@whetstone/core/contract';
import { peftPrefix } from './from-peft.js';
import { rankAndScale, type LoraOptions } from './options.js';
import { findSavedModules } from './saved-modules.js';
import { findTargets } from './targets.js';
import { tokenModules, tokenRowsKey } from './token-rows.js';
import type { LoraVariant } from './variants/variant.js';

/** Returns the names of the biases that are trained. */
function biasNames(model: ModelOutline, targets: readonly LinearSiteOutline[], bias: LoraOptions['bias']): string[] {
  if (bias === 'none') return [];
  const adapted = new Set(targets.map((site) => `${site.name}.bias`));
  return [...model.parameters.keys()].filter((name) => (bias === 'all' ? name.endsWith('.bias') : adapted.has(name)));
}

/** Returns the names of the model's parameters that an adapter trains directly: `modulesToSave` and biases. */
export function savedParameters(
  model: ModelOutline,
  targets: readonly LinearSiteOutline[],
  options: Pick<LoraOptions, 'modulesToSave' | 'bias'>,
): string[] {
  return [...findSavedModules(model, options.modulesToSave ?? []), ...biasNames(model, targets, options.bias)];
}

/**
 * Returns the key of such a parameter in the adapter's file. In PEFT, the bias of an adapted layer is one level deeper.
 */
export function savedKey(name: string, targets: readonly LinearSiteOutline[]): string {
  const isAdaptedBias = targets.some((site) => name === `${site.name}.bias`);
  return peftPrefix + (isAdaptedBias ? name.replace(/\.bias$/, '.base_layer.bias') : name);
}

/**
 * Returns the plan of a LoRA adapter.
 *
 * @throws `STRATEGY_TARGETS_NOTHING` if an option matches no module
 * @throws `CONFIG_INVALID` if a pattern is invalid or a rank does not fit the variant
 */
export function planLora(model: ModelOutline, options: LoraOptions, variant: LoraVariant): StrategyPlan {
  const targets = findTargets(model, options);
  const trainable = new Map<string, readonly number[]>();
  const effectiveWeights = new Map<string, readonly number[]>();
  for (const site of targets) {
    const { name, inFeatures, outFeatures, fanInFanOut } = site;
    const { rank } = rankAndScale(name, options);
    variant.checkRank?.(site, rank);
    for (const [ending, shapeOf] of Object.entries(variant.shapes))
      trainable.set(`${peftPrefix}${name}.${ending}`, shapeOf(site, rank));
    effectiveWeights.set(`${name}.weight`, fanInFanOut ? [inFeatures, outFeatures] : [outFeatures, inFeatures]);
  }
  const saved = savedParameters(model, targets, options);
  for (const name of saved) {
    const site = model.linearSites.get(name.replace(/\.weight$/, ''));
    const shape = model.parameters.get(name)?.shape ?? (site === undefined ? [] : [site.outFeatures, site.inFeatures]);
    trainable.set(savedKey(name, targets), shape);
    effectiveWeights.set(name, shape);
  }
  const tokens = options.trainableTokenIndices ?? [];
  for (const module of tokenModules(model, tokens, targets, saved))
    trainable.set(peftPrefix + tokenRowsKey(module), [tokens.length, model.hiddenSize]);
  return { trainable, effectiveWeights };
}
