import { definePlugin, type LanguageModel, type Strategy } from '@whetstone/core/contract';
import { unfreeze } from './support/unfreeze.js';

const configSchema = { type: 'object', properties: {}, additionalProperties: false } as const;

/** Trains every stored parameter of the model. A tied head is trained once, as the embedding that it is. */
export function fullStrategy(): Strategy {
  return {
    role: 'owner',
    plan: ({ parameters }) => ({ trainable: new Map([...parameters].map(([name, { shape }]) => [name, shape])) }),
    attach: (model: LanguageModel) => {
      const freeze = unfreeze(model.parameters.values());
      return {
        trainable: new Map(model.parameters),
        effectiveWeights: () => new Map([...model.parameters].map(([name, parameter]) => [name, { site: null, weight: () => parameter }])),
        saveState: () => ({ tensors: new Map(), values: null }),
        loadState: () => {},
        dispose: freeze,
      };
    },
  };
}

export const full = definePlugin({
  apiVersion: 1,
  kind: 'strategy',
  name: 'full',
  description: 'Trains every parameter of the model.',
  configSchema,
  create: () => fullStrategy(),
});
