export { createAdamW } from './adamw.js';
export { weightDecayApplies } from './decays.js';
export { adamw, sgd } from './plugins.js';
