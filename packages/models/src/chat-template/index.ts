export { loadRenderer } from './renderer.js';
