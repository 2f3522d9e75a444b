/**
 * Reads and writes safetensors files. Headers are checked before memory is allocated, tensors are read individually,
 * and files are written atomically, one tensor at a time.
 */
export { bytesPerElement, narrow, widen, type SafetensorsDtype, type WeightDtype } from '../dtypes.js';
export { hashBase } from './base-hash.js';
export { openWeights, writeWeights } from './folder.js';
export { openSafetensors, withOnePeftPrefix, withoutPrefix, withoutWrappers, type TensorReader } from './read.js';
export { writeSafetensors, type TensorToWrite } from './write.js';
