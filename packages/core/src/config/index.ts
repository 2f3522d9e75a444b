/** Reads, overrides and validates configurations, sets their defaults and freezes them. */
export { composeSchema, editorSchema } from './compose-schema.js';
export type { ConfigDefaults } from './normalize.js';
export { applyOverrides, type Override } from './overrides.js';
export { rawConfigOf, readConfigFile, withValue, type RawConfig } from './read-config.js';
export { outputFolderOf, resolveConfig, type ConfigResolution } from './resolve-config.js';
export { resolveStages, type CheckStage, type ResolvedStage } from './resolve-stages.js';
export type { ResolvedConfig } from './types.js';
export { validateAgainst } from './validate-config.js';
