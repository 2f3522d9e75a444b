/** Additional exports for the command line. They may change in any release. */
export type { ImportDtype } from './gguf/index.js';
export { checkSaving } from './save-model.js';
export { storedDtype } from './stored-dtype.js';
export { readTokenizerFiles, tokensAddedTo } from './tokenizer/index.js';
