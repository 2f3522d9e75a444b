export { adamw, createAdamW } from './adamw.js';
export { weightDecayApplies } from './decays.js';
export { sgd } from './sgd.js';
