/** safetensors files: checked before anything is allocated, read by range, written atomically one tensor at a time. */
export { bytesPerElement, narrow, widen, type SafetensorsDtype, type TensorData, type WeightDtype } from '../dtypes.js';
export { openWeights, writeWeights } from './folder.js';
export type { TensorEntry } from './header.js';
export { openSafetensors, type TensorReader } from './read.js';
export { writeSafetensors, type TensorToWrite } from './write.js';
