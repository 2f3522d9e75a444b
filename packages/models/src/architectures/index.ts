/**
 * Decoder architectures: their descriptions (`specs/`, `shape.ts`), and the implementation of the contract's
 * `LanguageModel` (`language-model.ts`). A forward pass is planned in `forward-plan.ts` and computed in
 * `forward-pass.ts`, its layers in `decoder.ts`.
 */
export { createLanguageModel } from './language-model.js';
export { outlineOf } from './outline.js';
export { parameterShapes } from './parameters.js';
export { readShape } from './read-shape.js';
export type { DecoderShape } from './shape.js';
export { architectures, type ArchitectureSpec } from './specs/index.js';
