import type { TestedPlugin } from './options.js';
import { registerChecks } from './register-checks.js';
import { strategyChecks } from './strategy-checks.js';
import type { DescribeStrategyOptions } from './strategy-subject.js';

/**
 * Registers the conformance suite of strategies, {@link strategyChecks}, as vitest tests. Call it at the top of a test
 * file.
 */
export function describeStrategy(plugin: TestedPlugin<'strategy'>, settings: DescribeStrategyOptions): void {
  registerChecks(strategyChecks, plugin, settings, (options) => ({ plugin, settings, options }));
}
