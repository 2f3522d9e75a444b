export * from './contract/index.js';
export { corePlugins } from './core-plugins.js';
export * from './optimizers/index.js';
export * from './engine/index.js';
export * from './hooks/index.js';
