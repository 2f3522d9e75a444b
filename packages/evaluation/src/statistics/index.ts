export { bootstrapIntervals, pairedBootstrap, type Interval, type PairedDifference } from './bootstrap.js';
export { normalQuantile, samplesForDifference } from './sample-size.js';
export { mcNemarTest, signTest } from './significance.js';
