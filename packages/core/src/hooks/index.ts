/** Runs the hooks of callbacks as `contract/hook-table.ts` says. */
export { createHookRunner, type HookedCallback } from './runner.js';
export { validateCallback } from './validate-callback.js';
