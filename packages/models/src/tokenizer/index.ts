export { addTokens, tokensAddedTo, type GrownTokenizer } from './add-tokens.js';
export { encodePadded, type PaddedTexts, type PadOptions } from './pad.js';
export { createStreamDecoder, type StreamDecoder } from './stream-decoder.js';
export { createTokenizer, loadTokenizer, type FolderTokenizer } from './tokenizer.js';
export { readTokenizerFiles, type SpecialTokens, type TokenizerFiles } from './tokenizer-files.js';
