/**
 * Makes the folder of a plugin.
 *
 * @module create-whetstone-plugin
 */
export { CreateError, type CreateErrorCode, type CreateErrorDetails } from './create-error.js';
export { createPlugin, type CreatedPlugin } from './create-plugin.js';
export { LANGUAGES, type Language } from './language.js';
export { KINDS, type Kind } from './kinds.js';
export { type PluginChoices } from './package-files.js';
