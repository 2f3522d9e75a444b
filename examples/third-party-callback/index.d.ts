import type { Plugin } from '@whetstone/core/contract';

/** Ends a run if the loss of `patience` consecutive steps is above `threshold`. */
export declare const lossWatchdog: Plugin<'callback'>;
export default lossWatchdog;

declare module '@whetstone/core/contract' {
  interface PluginOptions {
    'callback whetstone-plugin-loss-watchdog': {
      /** A loss above this is too high. */
      readonly threshold: number;
      /** Consecutive steps above the threshold before the run ends; 3 by default. */
      readonly patience?: number;
    };
  }
}
