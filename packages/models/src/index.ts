/**
 * Language models, their tokenizers and chat templates, and text generation. Whetstone's own packages also import
 * `./internal.js`.
 *
 * @module @whetstone/models
 */
export { architectures, type ArchitectureSpec } from './architectures/index.js';
export { loadRenderer } from './chat-template/index.js';
export {
  collectText,
  generateIds,
  generateReply,
  generateText,
  type GeneratedText,
  type GenerationOptions,
  type LogitsProcessor,
} from './generation/index.js';
export { sequenceBias, suppressTokens } from './generation/penalties.js';
export { epsilonCutoff, etaCutoff } from './generation/truncation.js';
export { exportGguf, importGguf, type ExportReport, type ExportType, type ImportReport } from './gguf/index.js';
export { loadLanguageModel, readOutline } from './load-language-model.js';
export { loadModel } from './load-model.js';
export { createRandomModel } from './random-model.js';
export { saveModelFolder } from './save-model.js';
export { encodePadded, loadTokenizer, type FolderTokenizer } from './tokenizer/index.js';
