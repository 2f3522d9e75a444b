export { addTokens, tokensAddedTo } from './add-tokens.js';
export { encodePadded } from './pad.js';
export { createStreamDecoder } from './stream-decoder.js';
export { createTokenizer, loadTokenizer, type FolderTokenizer } from './tokenizer.js';
export { readTokenizerFiles } from './tokenizer-files.js';
