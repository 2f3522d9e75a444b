import type { TestSample } from './metric-samples.js';
import type { Options, TestedPlugin } from './options.js';

/** What `describeMetric` needs besides the plugin. */
export interface DescribeMetricOptions {
  /** Sets of options to test, by a name for the report. */
  readonly options: Readonly<Record<string, Options>>;
  /** Options that must be refused: by the schema, or when the metric is created. */
  readonly badOptions?: Readonly<Record<string, Options>>;
  /** Samples for a metric that expects certain texts or columns; by default some questions and answers. */
  readonly samples?: readonly TestSample[];
  /** Whether the numbers depend on the order of the samples; false by default. */
  readonly ordered?: boolean;
  /** Whether the metric keeps texts, as one does that compares replies with each other; false by default. */
  readonly keepsTexts?: boolean;
}

/** A metric plugin with one set of options: what a check of `metricChecks` is run on. */
export interface MetricSubject {
  readonly plugin: TestedPlugin<'metric'>;
  readonly settings: DescribeMetricOptions;
  /** Options as a configuration holds them, without defaults. */
  readonly options: Options;
}
