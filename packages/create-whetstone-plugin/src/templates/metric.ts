import type { Template } from './template.js';

export const metric: Template = {
  description: 'Counts the words of replies, and the share of replies that are too long.',
  configuration: (use) => ({ evaluation: { metrics: [{ use, options: { most: 50 } }] } }),
  source: ({ name, description }) => `import { definePlugin } from '@whetstone/core/contract';

/** Returns the number of words in a text. */
const wordsIn = (text«: string») => text.split(/\\s+/).filter((word) => word !== '').length;

export default definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: '${name}',
  version: '0.1.0',
  description: '${description}',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      most: { type: 'integer', minimum: 1, default: 50, description: 'A reply of more words is too long.' },
    },
  },
  create: ({ most }) => ({
    // The model replies to the samples. With 'none', the metric reads only the data.
    needs: 'replies',
    numbers: ['words', 'longReplies'],
    // Keeps counts, not samples: there may be any number of them.
    createAccumulator: () => {
      let [samples, words, long] = [0, 0, 0];
      return {
        add: ({ reply }) => {
          const count = wordsIn(reply);
          samples++;
          words += count;
          if (count > most) long++;
        },
        result: ()«: Record<string, number>» =>
          samples === 0 ? {} : { words: words / samples, longReplies: long / samples },
      };
    },
  }),
});
`,
  test: () => `import { createFrom, describeMetric, metricSampleOf } from '@whetstone/testing';
import { expect, it } from 'vitest';
import plugin from './index.js';

// Registers the conformance suite of metrics, for each set of options.
describeMetric(plugin, {
  options: { 'by default': {}, 'one word': { most: 1 } },
  badOptions: { 'no words': { most: 0 }, 'an unknown key': { least: 2 } },
});

it('counts words and long replies', async () => {
  const metric = await createFrom(plugin, { most: 2 });
  if (metric.needs !== 'replies') throw new Error('the metric does not need replies');
  const accumulator = metric.createAccumulator();
  for (const reply of ['One two three.', 'One.', ''])
    await accumulator.add(metricSampleOf('replies', { prompt: 'Count.', reference: 'One.', reply }));
  // (3 + 1 + 0) words in 3 replies, of which one has more than 2.
  expect(await accumulator.result()).toEqual({ words: 4 / 3, longReplies: 1 / 3 });
});
`,
};
