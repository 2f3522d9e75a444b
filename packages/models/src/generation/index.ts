/** Text from a model: scores are processed on the host by pure functions, keys and values are cached on the device. */
export { generateIds, type FinishReason, type GeneratedToken } from './generate-ids.js';
export {
  collectText,
  generateReply,
  generateText,
  type GeneratedText,
  type GenerationParts,
  type TextGenerationOptions,
} from './generate-text.js';
export { inOrder, type LogitsProcessor, type ProcessorContext } from './logits-processor.js';
export type { GenerationOptions } from './options.js';
export * from './penalties.js';
export * from './truncation.js';
