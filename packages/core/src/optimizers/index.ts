export { adamw, createAdamW, type AdamWOptions } from './adamw.js';
export { weightDecayApplies } from './decays.js';
export { createSgd, sgd, type SgdOptions } from './sgd.js';
