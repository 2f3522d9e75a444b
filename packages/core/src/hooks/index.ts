/** Validates callbacks and calls their hooks, as `contract/hook-table.ts` defines them. */
export { mayRequest } from './may-request.js';
export { createHookRunner, type HookedCallback } from './runner.js';
export { validateCallback } from './validate-callback.js';
