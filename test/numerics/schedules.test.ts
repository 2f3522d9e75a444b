import { describe, expect, it } from 'vitest';
import type { ScheduleInputs, Schedule } from '@whetstone/core/contract';
import { corePlugins } from '@whetstone/core';
import { readGolden } from '../support/golden.js';

interface Case {
  readonly name: string;
  readonly base_lr: number;
  readonly num_warmup_steps: number;
  readonly num_training_steps: number;
  readonly kwargs: Readonly<Record<string, number | string>>;
  readonly lr?: readonly number[];
}

/** Expected values: `transformers.get_scheduler`, all variants of the fixture. */
const golden = readGolden<{ cases: Case[]; tolerance: { rel: number; abs: number } }>('schedules', 'golden.json');

const camelCase = (key: string): string => key.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

/** Returns the defaults of a plugin's schema, as the configuration applies them. */
function defaultsOf(schema: unknown): Record<string, unknown> {
  const { properties } = schema as { properties: Record<string, { default?: unknown }> };
  return Object.fromEntries(
    Object.entries(properties)
      .filter(([, value]) => value.default !== undefined)
      .map(([key, value]) => [key, value.default]),
  );
}

function scheduleOf(fixture: Case): Schedule {
  const plugin = corePlugins.find((candidate) => candidate.kind === 'schedule' && candidate.name === fixture.name);
  if (plugin === undefined) throw new Error(`No schedule is called ${fixture.name}.`);
  const given = Object.fromEntries(Object.entries(fixture.kwargs).map(([key, value]) => [camelCase(key), value]));
  const options = { ...defaultsOf(plugin.configSchema), ...given, warmupSteps: fixture.num_warmup_steps };
  const create = plugin.create as (options: unknown, context: unknown) => (inputs: ScheduleInputs) => Schedule;
  return create(options, {})({ totalSteps: fixture.num_training_steps, learningRate: fixture.base_lr });
}

/** `transformers.get_scheduler('constant', …, num_warmup_steps=5)` gives the base rate at every step. */
const constantWithoutWarmup: Case = {
  name: 'constant',
  base_lr: 1e-3,
  num_warmup_steps: 5,
  num_training_steps: 10,
  kwargs: {},
  lr: Array.from({ length: 10 }, () => 1e-3),
};

describe('schedules', () => {
  const cases = [...golden.cases, constantWithoutWarmup].filter((fixture) => fixture.lr !== undefined);

  it('has fixtures', () => expect(cases.length).toBeGreaterThan(0));

  it.each(
    cases.map(
      (fixture) =>
        [
          `${fixture.name} ${JSON.stringify(fixture.kwargs)} warmup ${fixture.num_warmup_steps} of ` +
            `${fixture.num_training_steps}`,
          fixture,
        ] as const,
    ),
  )('%s', (_, fixture) => {
    const schedule = scheduleOf(fixture);
    for (const [step, expected] of (fixture.lr ?? []).entries()) {
      const rate = fixture.base_lr * schedule(step);
      expect(Math.abs(rate - expected), `step ${step}: ${rate} for ${expected}`).toBeLessThanOrEqual(
        golden.tolerance.abs + golden.tolerance.rel * Math.abs(expected),
      );
    }
  });
});
