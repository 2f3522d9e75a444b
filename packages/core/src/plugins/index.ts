/** Plugins: checked, kept by kind and name, loaded from packages and files. */
export * from './load-plugin.js';
export * from './registry.js';
export * from './validate-plugin.js';
