/** Additional exports for the command line, the benchmarks and the tests. They may change in any release. */
export { backendInfo } from './command-line/info.js';
export { backendInstall, listDownloads } from './command-line/install.js';
export { damagedModules } from './engines/xla/module-cache.js';
export { WhetstoneBackend } from './recorder/backend.js';
