/** The memory of a run: its limits, what reduces it, and what explains a lack of it. */
export { asOutOfMemory, computing, naming } from './allocation.js';
export {
  bootOf,
  heapLimit,
  memoryLimits,
  outOfMemoryKills,
  residentBytesOf,
  sharedLimits,
  swapBytes,
  type MemoryLimit,
} from './limits.js';
export { explainEnd, observeMemory, type ExpectedShortage, type MemoryObservation } from './observation.js';
export { memoryOptions, optionsHint, totalOf, type MemoryParts } from './options.js';
