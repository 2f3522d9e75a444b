export { loadRenderer } from './renderer.js';
export { ADDITIONAL_TEMPLATES } from './template-files.js';
