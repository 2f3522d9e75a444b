import type { AdapterFormat } from '@whetstone/core/contract';

/** IA3 (Liu et al. 2022): PEFT's adapters can be used and merged. No built-in strategy trains them. */
export const ia3: AdapterFormat = {
  peftTypes: ['IA3'],
  load: async (model, files) => (await import('./adapter.js')).prepareIa3(model, files),
  merge: async (model, files) => (await import('./adapter.js')).mergeIa3(model, files),
};
