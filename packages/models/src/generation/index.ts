/**
 * Text generation. `generator.ts` generates several replies at once, token by token; `generate-ids.ts` and
 * `generate-text.ts` stream their tokens and texts. Pure functions process scores on the host.
 */
export { generateIds } from './generate-ids.js';
export { collectText, generateReply, generateText, type GeneratedText } from './generate-text.js';
export type { LogitsProcessor } from './logits-processor.js';
export type { GenerationOptions } from './options.js';
