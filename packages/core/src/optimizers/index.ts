export { createAdamW } from './adamw.js';
export { weightDecayApplies } from './decays.js';
