/** Plugins: checked, kept by kind and name, loaded from packages and files. */
export { loadPlugin } from './load-plugin.js';
export { createRegistry } from './registry.js';
