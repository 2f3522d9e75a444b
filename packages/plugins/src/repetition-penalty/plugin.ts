import { definePlugin } from '@whetstone/core/contract';
import { configSchema } from './options.js';

/** The callback `repetition-penalty`: trains against repetition within replies. */
export const repetitionPenalty = definePlugin({
  apiVersion: 2,
  kind: 'callback',
  name: 'repetition-penalty',
  description:
    'Trains the model not to repeat itself: unlikelihood loss on repeated tokens in the training data and in its ' +
    'own replies, and a diversity penalty.',
  configSchema,
  create: async (options) => {
    const { createRepetitionPenalty } = await import('./repetition-penalty.js');
    return createRepetitionPenalty(options);
  },
});
