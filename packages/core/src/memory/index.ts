/** The memory of a run: its limits, and what explains that a run ended for lack of it. */
export { bootOf, heapLimit, memoryLimits, outOfMemoryKills, residentBytesOf, sharedLimits } from './limits.js';
export { explainEnd, observeMemory, type MemoryObservation } from './observation.js';
