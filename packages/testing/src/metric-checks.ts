import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { getBackend, memory } from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import type { AdditiveMetric, Metric, MetricAccumulator, MetricNeeds, MetricSample } from '@whetstone/core/contract';
import { isRecord } from '@whetstone/core/util';
import { expectCoded, expectDeclaration, type Check, type Checks } from './check.js';
import { defaultSamples, metricSampleOf, type TestSample } from './metric-samples.js';
import type { MetricSubject } from './metric-subject.js';
import { createFrom, resolveOptions, testContext, type Options } from './options.js';

type MetricCheck = Check<MetricSubject>;
type Numbers = Readonly<Record<string, number>>;

const declaresItself: MetricCheck = {
  name: 'declares itself',
  run: async ({ plugin }) => expectDeclaration(plugin, ['metric']),
};

const refusesBadOptions: MetricCheck = {
  name: 'refuses bad options',
  run: async ({ plugin, options }) => {
    let resolved: Options;
    try {
      resolved = resolveOptions(plugin.configSchema, options);
    } catch {
      return; // The schema refused them, and a run reports that with the path of each problem.
    }
    const refusal = await Promise.resolve()
      .then(() => plugin.create(resolved as never, testContext))
      .then(
        () => null,
        (error: unknown) => ({ error }),
      );
    if (refusal === null) expect.fail('neither the schema nor the metric refused the options');
    expectCoded(refusal.error);
  },
};

const metricOf = ({ plugin, options }: MetricSubject): Promise<Metric> => createFrom(plugin, options);

/** An accumulator that receives the texts of samples. */
interface Evaluation {
  add(texts: TestSample, index: number): Promise<void>;
  result(): Promise<Numbers>;
}

function start(metric: Metric): Evaluation {
  const accumulator = metric.createAccumulator() as MetricAccumulator<MetricSample>;
  return {
    add: async (texts, index) => accumulator.add(metricSampleOf(metric.needs, texts, index)),
    result: async () => accumulator.result(),
  };
}

const samplesOf = ({ settings }: MetricSubject): readonly TestSample[] => settings.samples ?? defaultSamples;

async function evaluate(metric: Metric, samples: readonly TestSample[]): Promise<Numbers> {
  const { add, result } = start(metric);
  for (const [index, sample] of samples.entries()) await add(sample, index);
  return result();
}

const declaresNeeds: MetricCheck = {
  name: 'declares what it needs, and creates accumulators',
  run: async (subject) => {
    const metric = (await metricOf(subject)) as unknown as Readonly<Record<string, unknown>>;
    const needs: readonly MetricNeeds[] = ['none', 'replies', 'logProbabilities', 'choices'];
    expect(needs, 'the values of needs, one of which the metric has').toContain(metric['needs']);
    expect(typeof metric['createAccumulator'], 'type of createAccumulator').toBe('function');
    const accumulator = (metric as unknown as Metric).createAccumulator() as unknown as Record<string, unknown>;
    for (const method of ['add', 'result']) expect(typeof accumulator[method], `type of ${method}`).toBe('function');
  },
};

function expectNumbers(result: unknown): void {
  if (!isRecord(result)) expect.fail('result() did not return an object');
  for (const [name, value] of Object.entries(result)) {
    expect(name, 'name of a number').not.toBe('');
    expect(['loss', 'perplexity'], 'names that every evaluation reports').not.toContain(name);
    expect(
      typeof value === 'number' && Number.isFinite(value),
      `${name} is not a finite number: ${String(value)}`,
    ).toBe(true);
  }
}

const returnsNumbers: MetricCheck = {
  name: 'returns finite numbers by name',
  run: async (subject) => {
    const result = await evaluate(await metricOf(subject), samplesOf(subject));
    expectNumbers(result);
    expect(Object.keys(result).length, 'number of values').toBeGreaterThan(0);
  },
};

/** An evaluation uses the additive form instead of an accumulator, so that both must agree. */
const agreesWithItsSums: MetricCheck = {
  name: 'returns the same numbers from an accumulator and from the sums of its additive form',
  run: async (subject) => {
    const metric = await metricOf(subject);
    const additive = metric.additive as AdditiveMetric<MetricSample> | undefined;
    if (additive === undefined) return;
    for (const samples of [samplesOf(subject), []]) {
      let sums: readonly number[] = [];
      for (const [index, texts] of samples.entries()) {
        const own = await additive.statistics(metricSampleOf(metric.needs, texts, index));
        expect(own.length, 'count of statistics of each sample').toBe(index === 0 ? own.length : sums.length);
        sums = own.map((value, at) => value + (sums[at] ?? 0));
      }
      const expected = await evaluate(metric, samples);
      const found = additive.numbers(sums);
      expect(Object.keys(found).toSorted(), 'names from the sums').toEqual(Object.keys(expected).toSorted());
      for (const [name, value] of Object.entries(expected))
        expect(found[name], `${name} from the sums`).toBeCloseTo(value, 9);
    }
  },
};

const worksWithoutSamples: MetricCheck = {
  name: 'returns finite numbers, or none, without samples',
  run: async (subject) => expectNumbers(await evaluate(await metricOf(subject), [])),
};

const repeatsItself: MetricCheck = {
  name: 'returns the same numbers for the same samples',
  run: async (subject) => {
    const first = await evaluate(await metricOf(subject), samplesOf(subject));
    expect(await evaluate(await metricOf(subject), samplesOf(subject)), 'numbers of a second metric').toEqual(first);
  },
};

const startsAfresh: MetricCheck = {
  name: 'starts each evaluation without samples',
  run: async (subject) => {
    const samples = samplesOf(subject);
    const half = samples.slice(0, Math.ceil(samples.length / 2));
    const expected = await evaluate(await metricOf(subject), half);
    const metric = await metricOf(subject);
    await evaluate(metric, samples);
    expect(await evaluate(metric, half), 'numbers of a second evaluation').toEqual(expected);
  },
};

const keepsAccumulatorsApart: MetricCheck = {
  name: 'keeps accumulators apart',
  run: async (subject) => {
    const samples = samplesOf(subject);
    const expected = await evaluate(await metricOf(subject), samples);
    const metric = await metricOf(subject);
    const [first, second, other] = [start(metric), start(metric), start(await metricOf(subject))];
    for (const [index, sample] of samples.entries()) {
      await first.add(sample, index);
      // The second evaluation has the samples in another order of time: it is one behind.
      if (index > 0) await second.add(samples[index - 1] as TestSample, index - 1);
      await other.add(sample, index);
    }
    await second.add(samples.at(-1) as TestSample, samples.length - 1);
    for (const [name, { result }] of Object.entries({ first, second, 'another metric': other }))
      expect(await result(), `numbers of evaluations at the same time: ${name}`).toEqual(expected);
  },
};

const ignoresOrder: MetricCheck = {
  name: 'returns the same numbers in any order of the samples',
  applies: ({ settings }) => settings.ordered !== true,
  run: async (subject) => {
    const samples = samplesOf(subject);
    const expected = await evaluate(await metricOf(subject), samples);
    const reversed = await evaluate(await metricOf(subject), samples.toReversed());
    expect(Object.keys(reversed).toSorted(), 'names for the reversed samples').toEqual(
      Object.keys(expected).toSorted(),
    );
    for (const [name, value] of Object.entries(expected)) {
      // Sums round differently in another order.
      const allowed = 1e-9 * Math.max(1, Math.abs(value));
      expect(Math.abs((reversed[name] ?? NaN) - value), `change of ${name} for the reversed samples`).toBeLessThan(
        allowed,
      );
    }
  },
};

const leavesSamples: MetricCheck = {
  name: 'leaves the samples unchanged',
  run: async (subject) => {
    const metric = await metricOf(subject);
    const accumulator = metric.createAccumulator() as MetricAccumulator<MetricSample>;
    for (const [index, texts] of samplesOf(subject).entries()) {
      const [sample, before] = [0, 1].map(() => metricSampleOf(metric.needs, structuredClone(texts), index));
      await accumulator.add(sample as MetricSample);
      expect(sample, 'the sample after add').toEqual(before);
    }
  },
};

const leavesOptions: MetricCheck = {
  name: 'leaves its options unchanged',
  run: async (subject) => {
    const resolved = resolveOptions(subject.plugin.configSchema, subject.options);
    const before = structuredClone(resolved);
    await evaluate(await subject.plugin.create(resolved as never, testContext), samplesOf(subject));
    expect(resolved, 'options after an evaluation').toEqual(before);
  },
};

/** Returns the number of tensors; 0 before a backend is used, because most metrics need none. */
const tensorCount = (): number => (typeof getBackend() === 'string' ? memory().numTensors : 0);

const disposesTensors: MetricCheck = {
  name: 'disposes every tensor that it makes',
  run: async (subject) => {
    const metric = await metricOf(subject);
    const before = tensorCount();
    await evaluate(metric, samplesOf(subject));
    expect(tensorCount(), 'tensors after an evaluation').toBe(before);
  },
};

/** The size of a long text, and how many samples are added before and between measurements of the memory. */
const LONG = { characters: 20_000, words: 5, warmUp: 10, samples: 60 };

const greekWords = ['λόγος', 'βίος', 'τέχνη', 'ὕδωρ'];

/**
 * Returns a new text of a few words with much space between them, two bytes a character. Few words keep a metric fast.
 * `join` makes a string of its own; `repeat` and `+` would refer to parts that all texts share.
 */
function longText(index: number): string {
  const every = LONG.characters / LONG.words;
  return Array.from({ length: LONG.characters }, (_, at) =>
    at % every === 0 ? greekWords[(at / every + index) % greekWords.length] : '',
  ).join('\u2003');
}

/** Returns a sample with long texts. A metric that has samples of its own keeps its references and replies. */
function longSample({ settings: { samples } }: MetricSubject, index: number): TestSample {
  const prompt = longText(index);
  const given = samples?.[index % samples.length];
  return given === undefined
    ? { prompt, reference: longText(index + 1), reply: longText(index + 2) }
    : { ...given, prompt };
}

/** Returns the bytes of objects and array buffers that are in use. */
async function bytesInUse(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  // A second collection frees what finalizers of the first one released.
  for (let round = 0; round < 2; round++) {
    collect();
    await setImmediate();
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

const keepsNoTexts: MetricCheck = {
  name: 'keeps no samples',
  applies: ({ settings }) => settings.keepsTexts !== true,
  run: async (subject) => {
    const bytesOfTexts = 2 * LONG.characters * LONG.samples;
    const { add, result } = start(await metricOf(subject));
    let index = 0;
    const addLong = async (count: number): Promise<void> => {
      for (const end = index + count; index < end; index++) await add(longSample(subject, index), index);
    };
    await addLong(LONG.warmUp);
    // Other work in the process can grow the memory, too. A metric that keeps texts grows it every time.
    let least = Infinity;
    for (let round = 0; round < 3 && least > bytesOfTexts / 3; round++) {
      const before = await bytesInUse();
      await addLong(LONG.samples);
      least = Math.min(least, (await bytesInUse()) - before);
    }
    // The accumulator is in use until here, so that its memory is counted.
    await result();
    expect(least, `bytes kept of ${LONG.samples} samples`).toBeLessThan(bytesOfTexts / 3);
  },
};

/** The checks that `describeMetric` registers as tests. */
export const metricChecks: Checks<MetricSubject> = {
  plugin: [declaresItself],
  badOptions: [refusesBadOptions],
  options: [
    declaresNeeds,
    returnsNumbers,
    agreesWithItsSums,
    worksWithoutSamples,
    repeatsItself,
    startsAfresh,
    keepsAccumulatorsApart,
    ignoresOrder,
    leavesSamples,
    leavesOptions,
    disposesTensors,
    keepsNoTexts,
  ],
};
