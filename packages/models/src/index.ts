export * from './safetensors/index.js';
export * from './tokenizer/index.js';
export { architectures, countParameters, createLanguageModel, parameterShapes, readShape, type DecoderShape, type ParameterShape } from './architectures/index.js';
export { loadLanguageModel } from './load-language-model.js';
export { createRandomModel } from './random-model.js';
export { saveModelFolder, type SaveModelOptions } from './save-model.js';
export * from './gguf/index.js';
export * from './generation/index.js';
export * from './chat-template/index.js';
