/**
 * Conformance suites for plugins, on vitest, and small data for other tests of them.
 *
 * @module @whetstone/testing
 */
import '@whetstone/core/tfjs-gradients';

export { batchOf, batchSourceOf, randomRows, supervisedOf, testRandom, type Row } from './batches.js';
export { describeCallback, type DescribeCallbackOptions } from './describe-callback.js';
export { describeStrategy, type DescribeStrategyOptions } from './describe-strategy.js';
export type { TestedPlugin } from './options.js';
