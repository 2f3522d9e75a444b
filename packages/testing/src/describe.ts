import { describe, it } from 'vitest';
import { callbackChecks } from './callback-checks.js';
import type { DescribeCallbackOptions } from './callback-subject.js';
import type { Check, Checks } from './check.js';
import { metricChecks } from './metric-checks.js';
import type { DescribeMetricOptions } from './metric-subject.js';
import type { Options, TestedPlugin } from './options.js';
import { strategyChecks } from './strategy-checks.js';
import type { DescribeStrategyOptions } from './strategy-subject.js';

/** A suite at work on a busy machine must not make a plugin look wrong. Milliseconds for each check. */
const CHECK_TIMEOUT = 120_000;

/** Registers each check as a test: once for the plugin, for each set of options, and for each set of bad options. */
function registerChecks<Subject>(
  checks: Checks<Subject>,
  plugin: { readonly kind: string; readonly name: string },
  sets: {
    readonly options: Readonly<Record<string, Options>>;
    readonly badOptions?: Readonly<Record<string, Options>>;
  },
  subjectOf: (options: Options) => Subject,
): void {
  const register = (list: readonly Check<Subject>[], subject: Subject): void => {
    for (const check of list) if (check.applies?.(subject) ?? true) it(check.name, () => check.run(subject));
  };
  describe(`${plugin.kind} ${plugin.name}`, { timeout: CHECK_TIMEOUT }, () => {
    register(checks.plugin, subjectOf({}));
    for (const [name, options] of Object.entries(sets.badOptions ?? {}))
      describe(`bad options: ${name}`, () => register(checks.badOptions, subjectOf(options)));
    for (const [name, options] of Object.entries(sets.options))
      describe(name, () => register(checks.options, subjectOf(options)));
  });
}

/**
 * Registers the conformance suite of strategies, {@link strategyChecks}, as vitest tests. Call it at the top of a test
 * file.
 */
export function describeStrategy(plugin: TestedPlugin<'strategy'>, settings: DescribeStrategyOptions): void {
  registerChecks(strategyChecks, plugin, settings, (options) => ({ plugin, settings, options }));
}

/**
 * Registers the conformance suite of callbacks and loggers, {@link callbackChecks}, as vitest tests. Call it at the top
 * of a test file.
 */
export function describeCallback(
  plugin: TestedPlugin<'callback'> | TestedPlugin<'logger'>,
  settings: DescribeCallbackOptions,
): void {
  registerChecks(callbackChecks, plugin, settings, (options) => ({ plugin, settings, options }));
}

/**
 * Registers the conformance suite of metrics, {@link metricChecks}, as vitest tests. Call it at the top of a test file.
 */
export function describeMetric(plugin: TestedPlugin<'metric'>, settings: DescribeMetricOptions): void {
  registerChecks(metricChecks, plugin, settings, (options) => ({ plugin, settings, options }));
}
