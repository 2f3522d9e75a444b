/** Runs the hooks of callbacks as `contract/hook-table.ts` says. */
export * from './runner.js';
export * from './types.js';
export * from './validate-callback.js';
