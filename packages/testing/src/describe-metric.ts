import { metricChecks } from './metric-checks.js';
import type { DescribeMetricOptions } from './metric-subject.js';
import type { TestedPlugin } from './options.js';
import { registerChecks } from './register-checks.js';

/**
 * Registers the conformance suite of metrics, {@link metricChecks}, as vitest tests. Call it at the top of a test file.
 */
export function describeMetric(plugin: TestedPlugin<'metric'>, settings: DescribeMetricOptions): void {
  registerChecks(metricChecks, plugin, settings, (options) => ({ plugin, settings, options }));
}
