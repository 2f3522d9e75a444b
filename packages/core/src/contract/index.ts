/**
 * The plugin contract: types, the hook table, errors, service tokens and `definePlugin`. All of Whetstone depends on
 * this module; it depends on no other.
 *
 * @module @whetstone/core/contract
 */
export * from './adapter.js';
export * from './batch-options.js';
export * from './callback.js';
export * from './data.js';
export * from './error-codes.js';
export * from './errors.js';
export type * from './events.js';
export * from './from-schema.js';
export * from './hook-table.js';
export type * from './json.js';
export * from './metric.js';
export * from './model.js';
export * from './optimizer.js';
export * from './plugin.js';
export type * from './plugin-options.js';
export * from './recipe.js';
export type * from './report.js';
export type * from './run-outline.js';
export type * from './run-plan.js';
export * from './storage.js';
export * from './strategy.js';
export * from './tokenizer.js';
export * from './tokens.js';
export * from './workers.js';
