/**
 * Conformance suites for plugins, on vitest, and small data for other tests of plugins.
 *
 * @module @whetstone/testing
 */
import '@whetstone/core/tfjs-gradients';

export { testRandom } from '@whetstone/core/util';
export { batchOf, batchSourceOf, randomRows, supervisedOf, type Row } from './batches.js';
export { callbackChecks } from './callback-checks.js';
export { type CallbackSubject, type DescribeCallbackOptions } from './callback-subject.js';
export { type Check, type Checks } from './check.js';
export { describeCallback, describeMetric, describeStrategy } from './describe.js';
export { metricChecks } from './metric-checks.js';
export { metricSampleOf } from './metric-samples.js';
export { type DescribeMetricOptions, type MetricSubject } from './metric-subject.js';
export { createFrom, type Options, type TestedPlugin } from './options.js';
export { strategyChecks } from './strategy-checks.js';
export { type DescribeStrategyOptions, type StrategySubject } from './strategy-subject.js';
