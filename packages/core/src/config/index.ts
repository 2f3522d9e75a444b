/** Configurations: read, overridden, validated against the plugins they name, defaulted and frozen. */
export * from './compose-schema.js';
export * from './normalize.js';
export * from './overrides.js';
export * from './paths.js';
export * from './read-config.js';
export * from './resolve-config.js';
export * from './resolve-stages.js';
export * from './track-reads.js';
export * from './types.js';
export { validateAgainst } from './validate-config.js';
