import type { Plugin } from '@whetstone/core/contract';

/** Ends a run when the loss of `patience` steps one after the other is above `threshold`. */
export declare const lossWatchdog: Plugin<'callback'>;
export default lossWatchdog;
