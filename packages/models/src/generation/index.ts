/** Text generation: pure functions process scores on the host; keys and values are cached on the device. */
export { generateIds, type FinishReason, type GeneratedToken } from './generate-ids.js';
export {
  collectText,
  generateReply,
  generateText,
  type GeneratedText,
  type TextGenerator,
  type TextGenerationOptions,
} from './generate-text.js';
export { inOrder, type LogitsProcessor, type ProcessorContext } from './logits-processor.js';
export type { GenerationOptions } from './options.js';
export * from './penalties.js';
export * from './truncation.js';
