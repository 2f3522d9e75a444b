export * from './safetensors/index.js';
export * from './tokenizer/index.js';
