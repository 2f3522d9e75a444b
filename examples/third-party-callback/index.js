// @ts-check
import { definePlugin } from '@whetstone/core/contract';

/** Ends a run if the loss of `patience` consecutive steps is above `threshold`. */
export const lossWatchdog = definePlugin({
  apiVersion: 2,
  kind: 'callback',
  name: 'loss-watchdog',
  version: '1.0.0',
  description: 'Ends a run whose loss stays too high.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    required: ['threshold'],
    properties: {
      threshold: { type: 'number', description: 'A loss above this is too high.' },
      patience: {
        type: 'integer',
        minimum: 1,
        default: 3,
        description: 'Consecutive steps above the threshold before the run ends.',
      },
    },
  },
  create: ({ threshold, patience }, { logger }) => {
    let tooHigh = 0;
    return {
      onStep: ({ loss, step }, control) => {
        tooHigh = loss > threshold ? tooHigh + 1 : 0;
        if (tooHigh === 0) return;
        logger.info(`Step ${step}: the loss is above ${threshold} (${tooHigh} of ${patience}).`);
        if (tooHigh >= patience) control.stop(`the loss was above ${threshold} for ${patience} steps`);
      },
      // A resumed run continues to count from here.
      saveState: () => ({ tooHigh }),
      loadState: (state) => {
        tooHigh = Number(/** @type {{ tooHigh?: unknown }} */ (state).tooHigh ?? 0);
      },
    };
  },
});

export default lossWatchdog;
