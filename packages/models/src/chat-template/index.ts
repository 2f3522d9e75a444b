export { createRenderer, loadRenderer, type RendererOptions } from './renderer.js';
