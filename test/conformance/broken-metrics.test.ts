import { keep, scalar } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Json, MetricAccumulator, MetricOf, MetricSample, ReplySample } from '@whetstone/core/contract';
import { metricChecks, type MetricSubject, type Options, type TestedPlugin } from '@whetstone/testing';
import { useBackend } from '../support/backend.js';
import { allChecks, failureOf } from './run-checks.js';
import { lengthRatio, type LengthRatioOptions } from './sound-metric.js';

beforeAll(() => useBackend('cpu'));

const noUnit = { unit: '' };

type MetricPlugin = TestedPlugin<'metric'>;
type Accumulator = MetricAccumulator<ReplySample>;

const subjectOf = (plugin: MetricPlugin, options: Options): MetricSubject => ({
  plugin,
  options,
  settings: { options: {} },
});

/** The sound metric, with some of its members replaced. */
const changed = (change: (sound: MetricOf<'replies'>, options: LengthRatioOptions) => object): MetricPlugin => ({
  ...lengthRatio,
  create: (options: LengthRatioOptions, context) => {
    const sound = lengthRatio.create(options as never, context) as MetricOf<'replies'>;
    return { ...sound, ...change(sound, options) } as never;
  },
});

/** The sound metric, with some members of each accumulator replaced. */
const accumulating = (change: (sound: Accumulator) => object): MetricPlugin =>
  changed((sound) => ({
    createAccumulator: () => {
      const accumulator = sound.createAccumulator();
      return { ...accumulator, ...change(accumulator) };
    },
  }));

/** The sound metric, which calls this for each sample. */
const adding = (noteOf: () => (sample: ReplySample) => void): MetricPlugin =>
  accumulating(({ add }) => {
    const note = noteOf();
    return {
      add: (sample: ReplySample) => {
        note(sample);
        return add(sample);
      },
    };
  });

/** The sound metric with a result of its own. */
const returning = (result: () => unknown): MetricPlugin => accumulating(() => ({ result }));

interface Fault {
  readonly plugin: MetricPlugin;
  /** Name of the check that must fail. */
  readonly check: string;
  /** What the check must say. */
  readonly message: RegExp;
}

const NUMBERS = 'returns finite numbers by name';
const NEEDS = 'declares what it needs, and creates accumulators';

const faults: Readonly<Record<string, Fault>> = {
  'is of another API version': {
    plugin: { ...lengthRatio, apiVersion: 1 },
    check: 'declares itself',
    message: /^apiVersion: expected 1 to be 2/,
  },
  'accepts unknown keys': {
    plugin: { ...lengthRatio, configSchema: { ...lengthRatio.configSchema, additionalProperties: true } },
    check: 'declares itself',
    message: /^configSchema: /,
  },
  'has no name': { plugin: { ...lengthRatio, name: '' }, check: 'declares itself', message: /^name: / },
  'is of another kind': {
    plugin: { ...lengthRatio, kind: 'callback' as 'metric' },
    check: 'declares itself',
    message: /^kinds, one of which the plugin is: /,
  },
  'accepts bad options': {
    plugin: {
      ...lengthRatio,
      create: (_, context) => lengthRatio.create({ unit: 'a', ignored: [] } as never, context),
    },
    check: 'refuses bad options',
    message: /^neither the schema nor the metric refused the options/,
  },
  'refuses bad options with an error without a code': {
    plugin: {
      ...lengthRatio,
      create: () => {
        throw new Error('no unit');
      },
    },
    check: 'refuses bad options',
    message: /^the error has no code, it is not a WhetstoneError: no unit/,
  },
  'needs something that does not exist': {
    plugin: changed(() => ({ needs: 'embeddings' })),
    check: NEEDS,
    message: /^the values of needs, one of which the metric has: /,
  },
  'has the form of version 1': {
    plugin: changed(() => ({ createAccumulator: undefined, compute: () => ({ lengthRatio: 1 }) })),
    check: NEEDS,
    message: /^type of createAccumulator: /,
  },
  'has an accumulator without a result': {
    plugin: accumulating(() => ({ result: undefined })),
    check: NEEDS,
    message: /^type of result: /,
  },
  'returns a number without a name': {
    plugin: returning(() => 1),
    check: NUMBERS,
    message: /^result\(\) did not return an object/,
  },
  'returns a text': {
    plugin: returning(() => ({ lengthRatio: '1' })),
    check: NUMBERS,
    message: /^lengthRatio is not a finite number: 1/,
  },
  'returns the name of the loss': {
    plugin: returning(() => ({ loss: 1 })),
    check: NUMBERS,
    message: /^names that every evaluation reports: /,
  },
  'returns nothing for samples': { plugin: returning(() => ({})), check: NUMBERS, message: /^number of values: / },
  'has other numbers in its additive form': {
    plugin: changed(({ additive }) => ({ additive: { ...additive, numbers: () => ({ lengthRatio: 3 }) } })),
    check: 'returns the same numbers from an accumulator and from the sums of its additive form',
    message: /^lengthRatio from the sums: /,
  },
  'divides by zero without samples': {
    plugin: accumulating(({ add, result }) => {
      let samples = 0;
      return {
        add: (sample: ReplySample) => {
          samples++;
          return add(sample);
        },
        result: () => (samples === 0 ? { lengthRatio: NaN } : result()),
      };
    }),
    check: 'returns finite numbers, or none, without samples',
    message: /^lengthRatio is not a finite number: NaN/,
  },
  'draws random numbers without a seed': {
    plugin: returning(() => ({ lengthRatio: Math.random() })),
    check: 'returns the same numbers for the same samples',
    message: /^numbers of a second metric: /,
  },
  'counts the samples of all evaluations': {
    plugin: changed(() => {
      let samples = 0;
      return {
        createAccumulator: () => ({ add: () => void samples++, result: () => ({ samples }) }),
      };
    }),
    check: 'starts each evaluation without samples',
    message: /^numbers of a second evaluation: /,
  },
  'has one state, which each new accumulator clears': {
    plugin: changed(() => {
      let samples = 0;
      return {
        createAccumulator: () => {
          samples = 0;
          return { add: () => void samples++, result: () => ({ samples }) };
        },
      };
    }),
    check: 'keeps accumulators apart',
    message: /^numbers of evaluations at the same time: first: /,
  },
  'reports the last sample': {
    plugin: accumulating(() => {
      let last = 0;
      return { add: ({ reply }: ReplySample) => void (last = reply.length), result: () => ({ last }) };
    }),
    check: 'returns the same numbers in any order of the samples',
    message: /^change of last for the reversed samples: /,
  },
  'changes its samples': {
    plugin: adding(
      () =>
        ({ columns }) =>
          void ((columns as Record<string, Json>)['seen'] = true),
    ),
    check: 'leaves the samples unchanged',
    message: /^the sample after add: /,
  },
  'changes its options': {
    plugin: changed((_, options) => {
      (options.ignored as string[]).push('!');
      return {};
    }),
    check: 'leaves its options unchanged',
    message: /^options after an evaluation: /,
  },
  'leaks a tensor for each sample': {
    plugin: adding(() => () => void keep(scalar(1))),
    check: 'disposes every tensor that it makes',
    message: /^tensors after an evaluation: /,
  },
  'keeps its samples': {
    plugin: adding(() => {
      const kept: MetricSample[] = [];
      return (sample) => void kept.push(sample);
    }),
    check: 'keeps no samples',
    message: /^bytes kept of 60 samples: /,
  },
  'keeps the replies': {
    plugin: adding(() => {
      const kept: string[] = [];
      return ({ reply }) => void kept.push(reply);
    }),
    check: 'keeps no samples',
    message: /^bytes kept of 60 samples: /,
  },
  'keeps the log-probabilities': {
    plugin: changed(() => ({
      needs: 'logProbabilities',
      createAccumulator: () => {
        const kept: unknown[] = [];
        return {
          add: ({ likelihoods }: { readonly likelihoods: readonly unknown[] }) => void kept.push(...likelihoods),
          result: () => ({ kept: kept.length }),
        };
      },
    })),
    check: 'keeps no samples',
    message: /^bytes kept of 60 samples: /,
  },
};

const checks = allChecks(metricChecks, noUnit);

describe('a sound metric', () => {
  it.each(checks)('$name', async ({ run, applies, options }) => {
    const subject = subjectOf(lengthRatio, options);
    expect(applies?.(subject) ?? true).toBe(true);
    await run(subject);
  });
});

describe('a metric that', () => {
  it.each(Object.entries(faults))('%s fails the check for it', async (_fault, { plugin, check: name, message }) => {
    const check = checks.find((each) => each.name === name) ?? expect.fail(`There is no check "${name}".`);
    expect(await failureOf(check, subjectOf(plugin, check.options))).toMatch(message);
  });
});

it('each check of the suite is failed by a faulty metric', () => {
  const failed = new Set(Object.values(faults).map(({ check }) => check));
  expect(checks.map(({ name }) => name).filter((name) => !failed.has(name))).toEqual([]);
});
