import { WhetstoneError, type Metric, type MetricNeeds } from '../contract/index.js';
import { describeValue } from '../config/validate-config.js';
import { didYouMean, isRecord } from '../util/index.js';

const allNeeds = Object.keys({
  none: true,
  replies: true,
  logProbabilities: true,
  choices: true,
} satisfies Record<MetricNeeds, true>);

/**
 * Validates the object that a metric plugin created, and an accumulator of it.
 *
 * @throws `PLUGIN_INVALID`
 */
export function validateMetric(value: unknown, plugin: string): asserts value is Metric {
  const refuse = (message: string, expected: string, found: unknown, hint?: string): never => {
    throw new WhetstoneError('PLUGIN_INVALID', message, {
      expected,
      found: typeof found === 'function' ? 'a function' : describeValue(found),
      hint,
      details: { plugin, kind: 'metric' },
    });
  };
  const metric = value as Record<string, unknown>;
  if (typeof value !== 'object' || value === null)
    return refuse(`The metric '${plugin}' created an invalid instance.`, 'an object with createAccumulator', value);
  if (typeof metric['compute'] === 'function' && metric['createAccumulator'] === undefined)
    refuse(
      `The metric '${plugin}' has the method compute, which belongs to version 1 of the plugin contract.`,
      "{ needs: 'replies', createAccumulator: () => ({ add, result }) }",
      metric['compute'],
      'See "Upgrading plugins to version 2" in docs/versioning.md.',
    );
  const { needs } = metric;
  if (typeof needs !== 'string' || !allNeeds.includes(needs))
    refuse(
      `The value of needs of the metric '${plugin}' is unknown.`,
      `one of ${allNeeds.join(', ')}`,
      needs,
      typeof needs === 'string' ? didYouMean(needs, allNeeds) : undefined,
    );
  if (typeof metric['createAccumulator'] !== 'function')
    refuse(
      `The metric '${plugin}' has no function createAccumulator.`,
      'a function that returns an object with add and result',
      metric['createAccumulator'],
    );
  const { additive } = metric;
  for (const method of additive === undefined ? [] : ['statistics', 'numbers'])
    if (!isRecord(additive) || typeof additive[method] !== 'function')
      refuse(
        `The additive form of the metric '${plugin}' has no function ${method}.`,
        'an object with statistics and numbers',
        isRecord(additive) ? additive[method] : additive,
      );
  const accumulator = (value as Metric).createAccumulator() as unknown;
  for (const method of ['add', 'result'])
    if (!isRecord(accumulator) || typeof accumulator[method] !== 'function')
      refuse(
        `The accumulator of the metric '${plugin}' has no function ${method}.`,
        'an object with add and result',
        isRecord(accumulator) ? accumulator[method] : accumulator,
      );
}
