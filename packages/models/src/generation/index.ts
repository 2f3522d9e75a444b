/** Text generation: pure functions process scores on the host; keys and values are cached on the device. */
export { generateIds } from './generate-ids.js';
export { collectText, generateReply, generateText } from './generate-text.js';
export type { LogitsProcessor } from './logits-processor.js';
export type { GenerationOptions } from './options.js';
