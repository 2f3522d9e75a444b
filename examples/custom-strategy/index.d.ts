import type { Plugin } from '@whetstone/core/contract';

/** LoRA-FA (Zhang et al. 2023): A is random and frozen, only B is trained. */
export declare const loraFa: Plugin<'strategy'>;
export default loraFa;
