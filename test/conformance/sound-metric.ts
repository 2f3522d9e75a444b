import { scalar, tidy } from '@tensorflow/tfjs-core';
import { definePlugin, WhetstoneError, type MetricOf } from '@whetstone/core/contract';

/** The options of {@link lengthRatio}. */
export interface LengthRatioOptions {
  readonly unit: string;
  readonly ignored: readonly string[];
}

function createLengthRatio({ unit, ignored }: LengthRatioOptions): MetricOf<'replies'> {
  if (unit === '') throw new WhetstoneError('CONFIG_INVALID', 'The unit is empty.', { found: unit });
  const lengthOf = (text: string): number => {
    const counted = ignored.reduce((rest, character) => rest.replaceAll(character, ''), text);
    return tidy(() => scalar(counted.length / unit.length).dataSync()[0] ?? 0);
  };
  const numbers = ([replies = 0, references = 0]: readonly number[]): Record<string, number> =>
    references === 0 ? {} : { lengthRatio: replies / references };
  return {
    needs: 'replies',
    additive: {
      statistics: ({ reply, references: [reference] }) => [lengthOf(reply), lengthOf(reference)],
      numbers,
    },
    createAccumulator: () => {
      let [replies, references] = [0, 0];
      return {
        add: ({ reply, references: [reference] }) => {
          replies += lengthOf(reply);
          references += lengthOf(reference);
        },
        result: () => numbers([replies, references]),
      };
    },
  };
}

/**
 * A metric that has everything that the conformance suite checks: options, state, and tensors. The faulty metrics of
 * `broken-metrics.test.ts` change one thing each.
 */
export const lengthRatio = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'length-ratio',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      unit: { type: 'string', default: 'a' },
      ignored: { type: 'array', items: { type: 'string' }, default: [' '] },
    },
  },
  create: (options) => createLengthRatio(options),
});
