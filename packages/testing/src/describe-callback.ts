import { callbackChecks } from './callback-checks.js';
import type { DescribeCallbackOptions } from './callback-subject.js';
import type { TestedPlugin } from './options.js';
import { registerChecks } from './register-checks.js';

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
