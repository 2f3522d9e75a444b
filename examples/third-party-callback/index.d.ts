import type { Plugin } from '@whetstone/core/contract';

/** Ends a run if the loss of `patience` consecutive steps is above `threshold`. */
export declare const lossWatchdog: Plugin<'callback'>;
export default lossWatchdog;
