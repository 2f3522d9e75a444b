/** The plugins of the built-in optimizers. The code of an optimizer is loaded when it is created. */
import { definePlugin } from '../contract/plugin.js';

const adamwSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    weightDecay: {
      type: 'number',
      minimum: 0,
      default: 0,
      description: 'The decoupled weight decay per unit of learning rate. Not applied to biases and norms.',
    },
    adamBeta1: {
      type: 'number',
      minimum: 0,
      exclusiveMaximum: 1,
      default: 0.9,
      description: 'The decay rate of the first moment.',
    },
    adamBeta2: {
      type: 'number',
      minimum: 0,
      exclusiveMaximum: 1,
      default: 0.999,
      description: 'The decay rate of the second moment.',
    },
    adamEpsilon: {
      type: 'number',
      exclusiveMinimum: 0,
      default: 1e-8,
      description: 'The number added to the square root of the second moment.',
    },
  },
  required: ['weightDecay', 'adamBeta1', 'adamBeta2', 'adamEpsilon'],
} as const;

export const adamw = definePlugin({
  apiVersion: 2,
  kind: 'optimizer',
  name: 'adamw',
  description: 'Adam with decoupled weight decay.',
  configSchema: adamwSchema,
  // Spreading reads all options now. The optimizer itself reads them later, after unread keys have been reported.
  create: async (options) => {
    const { createAdamW } = await import('./adamw.js');
    return createAdamW({ ...options });
  },
});

const sgdSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    momentum: {
      type: 'number',
      minimum: 0,
      exclusiveMaximum: 1,
      default: 0,
      description: 'The share of the previous update direction that is added to the gradient.',
    },
    weightDecay: {
      type: 'number',
      minimum: 0,
      default: 0,
      description: 'The decoupled weight decay per unit of learning rate. Not applied to biases and norms.',
    },
  },
  required: ['momentum', 'weightDecay'],
} as const;

export const sgd = definePlugin({
  apiVersion: 2,
  kind: 'optimizer',
  name: 'sgd',
  description: 'Stochastic gradient descent with optional momentum.',
  configSchema: sgdSchema,
  // Spreading reads all options now. The optimizer itself reads them later, after unread keys have been reported.
  create: async (options) => {
    const { createSgd } = await import('./sgd.js');
    return createSgd({ ...options });
  },
});
