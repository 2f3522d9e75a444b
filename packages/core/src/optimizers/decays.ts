/**
 * Names of biases and norms as transformers' Trainer leaves them out, and GPT-2's `ln_1`, `ln_2`, `ln_f`, which are
 * LayerNorms.
 */
const undecayed = /bias|layernorm|rmsnorm|(^|\.)norm(\.|$)|_norm(\.|$)|(^|\.)ln_[a-z0-9]+(\.|$)/i;

/** Whether weight decay applies to a parameter of that name: to every one but biases and norms. */
export function weightDecayApplies(name: string): boolean {
  return !undecayed.test(name);
}
