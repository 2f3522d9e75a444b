/**
 * Names of parameters without weight decay: biases and norms, as in transformers' Trainer, and the LayerNorms of GPT-2
 * (`ln_1`, `ln_2`, `ln_f`).
 */
const namesWithoutDecay = /bias|layernorm|rmsnorm|(^|\.)norm(\.|$)|_norm(\.|$)|(^|\.)ln_[a-z0-9]+(\.|$)/i;

/** Returns whether weight decay applies to a parameter: true for all parameters except biases and norms. */
export function weightDecayApplies(name: string): boolean {
  return !namesWithoutDecay.test(name);
}
