import { describe, expect, it } from 'vitest';
import type { MetricOf } from '../contract/index.js';
import { validateMetric } from './validate-metric.js';

const accumulator = { add: () => undefined, result: () => ({}) };
const sound: MetricOf<'replies'> = { needs: 'replies', createAccumulator: () => accumulator };

describe('validateMetric', () => {
  it.each(['none', 'replies', 'logProbabilities', 'choices'])('accepts a metric that needs %s', (needs) => {
    expect(() => validateMetric({ ...sound, needs }, 'mine')).not.toThrow();
  });

  it('accepts instances of classes', () => {
    class Counter {
      count = 0;
      add(): void {
        this.count++;
      }
      result() {
        return { count: this.count };
      }
    }
    class Mine {
      readonly needs = 'none';
      createAccumulator() {
        return new Counter();
      }
    }
    expect(() => validateMetric(new Mine(), 'mine')).not.toThrow();
  });

  it.each<[string, unknown, object]>([
    ['no object', 3, { message: "The metric 'mine' created an invalid instance.", found: '3' }],
    ['null', null, { message: "The metric 'mine' created an invalid instance.", found: 'null' }],
    [
      'the form of version 1',
      { compute: () => ({}) },
      {
        message: "The metric 'mine' has the method compute, which belongs to version 1 of the plugin contract.",
        expected: "{ needs: 'replies', createAccumulator: () => ({ add, result }) }",
        hint: 'See "Upgrading plugins to version 2" in docs/versioning.md.',
      },
    ],
    [
      'no needs',
      { createAccumulator: sound.createAccumulator },
      { message: "The value of needs of the metric 'mine' is unknown.", found: 'nothing' },
    ],
    [
      'a misspelled need',
      { ...sound, needs: 'logprobability' },
      {
        message: "The value of needs of the metric 'mine' is unknown.",
        expected: 'one of none, replies, logProbabilities, choices',
        found: '"logprobability"',
        hint: expect.stringContaining('logProbabilities') as string,
      },
    ],
    [
      'a need that every object inherits',
      { ...sound, needs: 'toString' },
      { message: "The value of needs of the metric 'mine' is unknown." },
    ],
    [
      'no accumulator',
      { needs: 'replies', add: accumulator.add, result: accumulator.result },
      { message: "The metric 'mine' has no function createAccumulator.", found: 'nothing' },
    ],
    [
      'an accumulator without add',
      { ...sound, createAccumulator: () => ({ result: accumulator.result }) },
      { message: "The accumulator of the metric 'mine' has no function add.", found: 'nothing' },
    ],
    [
      'an accumulator without result',
      { ...sound, createAccumulator: () => ({ add: accumulator.add }) },
      { message: "The accumulator of the metric 'mine' has no function result.", found: 'nothing' },
    ],
    [
      'an additive form without numbers',
      { ...sound, additive: { statistics: () => [1] } },
      { message: "The additive form of the metric 'mine' has no function numbers.", found: 'nothing' },
    ],
    [
      'a promise of an accumulator',
      { ...sound, createAccumulator: async () => accumulator },
      { message: "The accumulator of the metric 'mine' has no function add." },
    ],
  ])('refuses %s', (_, value, expected) => {
    let refusal: unknown = null;
    try {
      validateMetric(value, 'mine');
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toMatchObject({ code: 'PLUGIN_INVALID', ...expected });
  });
});
