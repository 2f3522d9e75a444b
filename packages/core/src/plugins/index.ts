/** Loads plugins from packages and files, validates them and their instances, and registers them by kind and name. */
export { isConfigModule, readConfig } from './config-module.js';
export { loadPlugin } from './load-plugin.js';
export { createRegistry } from './registry.js';
export { validateMetric } from './validate-metric.js';
