/** Additional exports for the command line, the benchmarks and the tests. They may change in any release. */
export { presentAccelerators } from './engine-choice.js';
export { measureMatmul } from './matmul-speed.js';
export { WhetstoneBackend } from './recorder/backend.js';
