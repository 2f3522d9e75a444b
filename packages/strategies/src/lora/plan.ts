import { WhetstoneError, type LinearSiteOutline, type ModelOutline, type StrategyPlan } from '@whetstone/core/contract';
import { peftPrefix } from './from-peft.js';
import { valueByPattern, type LoraOptions } from './options.js';
import { findSavedModules } from './saved-modules.js';
import { findTargets } from './targets.js';
import { tokenModules, tokenRowsKey } from './token-rows.js';

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
 * @throws STRATEGY_TARGETS_NOTHING if an option matches no module.
 * @throws CONFIG_INVALID if a pattern is invalid or the rank is too large for PiSSA.
 */
export function planLora(model: ModelOutline, options: LoraOptions): StrategyPlan {
  const targets = findTargets(model, options);
  const trainable = new Map<string, readonly number[]>();
  const effectiveWeights = new Map<string, readonly number[]>();
  for (const { name, inFeatures, outFeatures, fanInFanOut } of targets) {
    const rank = valueByPattern(options.rankPattern, name, options.rank, 'strategy.options.rankPattern');
    if (options.initLoraWeights === 'pissa') checkPissaRank(name, rank, inFeatures, outFeatures);
    trainable.set(`${peftPrefix}${name}.lora_A.weight`, [rank, inFeatures]);
    trainable.set(`${peftPrefix}${name}.lora_B.weight`, [outFeatures, rank]);
    if (options.useDora) trainable.set(`${peftPrefix}${name}.lora_magnitude_vector`, [outFeatures]);
    effectiveWeights.set(`${name}.weight`, fanInFanOut ? [inFeatures, outFeatures] : [outFeatures, inFeatures]);
  }
  for (const name of savedParameters(model, targets, options)) {
    const site = model.linearSites.get(name.replace(/\.weight$/, ''));
    const shape = model.parameters.get(name)?.shape ?? (site === undefined ? [] : [site.outFeatures, site.inFeatures]);
    trainable.set(savedKey(name, targets), shape);
    effectiveWeights.set(name, shape);
  }
  for (const module of options.trainableTokenIndices === null || options.trainableTokenIndices.length === 0
    ? []
    : tokenModules(model)) {
    trainable.set(peftPrefix + tokenRowsKey(module), [options.trainableTokenIndices?.length ?? 0, model.hiddenSize]);
  }
  return { trainable, effectiveWeights };
}

function checkPissaRank(name: string, rank: number, inFeatures: number, outFeatures: number): void {
  const maxRank = Math.min(inFeatures, outFeatures);
  if (rank <= maxRank) return;
  throw new WhetstoneError('CONFIG_INVALID', 'The rank is too large for PiSSA: it exceeds the size of a layer.', {
    place: { path: 'strategy.options.rank' },
    expected: `at most ${maxRank} for ${name}`,
    found: String(rank),
  });
}
