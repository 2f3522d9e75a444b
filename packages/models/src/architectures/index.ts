/**
 * Decoder architectures: what they are (`specs/`, `shape.ts`), how they compute (`decoder.ts`), and the model that the
 * rest of Whetstone sees.
 */
export { createLanguageModel, type LanguageModelParts } from './language-model.js';
export { outlineOf } from './outline.js';
export { countParameters, parameterShapes, type ParameterShape } from './parameters.js';
export { readShape } from './read-shape.js';
export type { DecoderShape } from './shape.js';
export { architectures, type ArchitectureSpec } from './specs/index.js';
export { gemma2Names, gpt2Names, llamaNames, phi3Names } from './specs/names.js';
export type { TensorNames } from './shape.js';
