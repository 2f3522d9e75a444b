import type { Plugin } from '@whetstone/core/contract';

/** LN tuning (Zhao et al. 2024): trains the norms of a model, and saves them as an adapter. */
export declare const lnTuning: Plugin<'strategy'>;
export default lnTuning;
