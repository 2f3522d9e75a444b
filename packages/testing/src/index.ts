/** Conformance suites for plugins, on vitest, and the small parts they are made of. */
import '@whetstone/core/tfjs-gradients';

export { batchOf, batchSourceOf, randomRows, supervisedOf, testRandom, type Row } from './batches.js';
export {
  describeCallback,
  evaluationReport,
  recordControl,
  stepReport,
  type DescribeCallbackOptions,
  type RecordedControl,
} from './describe-callback.js';
export { describeStrategy, type DescribeStrategyOptions } from './describe-strategy.js';
export { createFrom, resolveOptions, testContext, type Options, type TestedPlugin } from './options.js';
export { gradientsOf, lossOf, takeStep, valuesOf, type NamedGradients } from './steps.js';
