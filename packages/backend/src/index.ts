/** The tensor backends of Whetstone: which one is used, how it is fetched, and our own. */
export * from './install/index.js';
export { backendNames, createBackendResolver, resolveBackend, type ResolveOptions } from './resolve.js';
