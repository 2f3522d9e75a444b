import type { RunOutline, UnusedOption } from '../contract/run-outline.js';

/**
 * Names of parameters without weight decay: biases and norms, as in transformers' Trainer, and the LayerNorms of GPT-2
 * (`ln_1`, `ln_2`, `ln_f`).
 */
const namesWithoutDecay = /bias|layernorm|rmsnorm|(^|\.)norm(\.|$)|_norm(\.|$)|(^|\.)ln_[a-z0-9]+(\.|$)/i;

/** Returns whether weight decay applies to a parameter: true for all parameters except biases and norms. */
export function weightDecayApplies(name: string): boolean {
  return !namesWithoutDecay.test(name);
}

/** Returns the option `weightDecay` if it applies to none of the trained parameters. */
export function unusedDecay(weightDecay: number, { trainable }: RunOutline): readonly UnusedOption[] {
  return weightDecay === 0 || trainable === null || trainable.some(weightDecayApplies)
    ? []
    : [{ path: 'weightDecay', reason: 'only biases and norms are trained, to which it does not apply' }];
}
