/** The built-in optimizers: names and options. Their code is loaded when one is created. */
import { definePlugin } from '../contract/plugin.js';

const adamwSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    weightDecay: {
      type: 'number',
      minimum: 0,
      default: 0,
      description: 'Decoupled decay per unit of learning rate; biases and norms are left out.',
    },
    adamBeta1: {
      type: 'number',
      minimum: 0,
      exclusiveMaximum: 1,
      default: 0.9,
      description: 'Decay of the first moment.',
    },
    adamBeta2: {
      type: 'number',
      minimum: 0,
      exclusiveMaximum: 1,
      default: 0.999,
      description: 'Decay of the second moment.',
    },
    adamEpsilon: {
      type: 'number',
      exclusiveMinimum: 0,
      default: 1e-8,
      description: 'Added to the root of the second moment.',
    },
  },
  required: ['weightDecay', 'adamBeta1', 'adamBeta2', 'adamEpsilon'],
} as const;

export const adamw = definePlugin({
  apiVersion: 1,
  kind: 'optimizer',
  name: 'adamw',
  description: 'Adam with decoupled weight decay.',
  configSchema: adamwSchema,
  // The options are copied: the optimizer reads them at its first update, after unread keys were reported.
  create: async (options) => {
    const { createAdamW } = await import('./adamw.js');
    return createAdamW({ ...options });
  },
});

const sgdSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    momentum: { type: 'number', minimum: 0, exclusiveMaximum: 1, default: 0 },
    weightDecay: {
      type: 'number',
      minimum: 0,
      default: 0,
      description: 'Decoupled decay per unit of learning rate; biases and norms are left out.',
    },
  },
  required: ['momentum', 'weightDecay'],
} as const;

export const sgd = definePlugin({
  apiVersion: 1,
  kind: 'optimizer',
  name: 'sgd',
  description: 'Stochastic gradient descent, with momentum where asked.',
  configSchema: sgdSchema,
  // The options are copied: the optimizer reads them at its first update, after unread keys were reported.
  create: async (options) => {
    const { createSgd } = await import('./sgd.js');
    return createSgd({ ...options });
  },
});
