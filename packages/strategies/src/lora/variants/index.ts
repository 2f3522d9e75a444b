import type { Scalars } from '@whetstone/core/ops';
import type { LoraOptions } from '../options.js';
import { dora } from './dora.js';
import { lora } from './lora.js';
import { pissa } from './pissa.js';
import type { LoraLayer, LoraLayerInputs, LoraVariant } from './variant.js';

/** The kinds of adapted layers. The first one that the options select is used. */
export const loraVariants: readonly LoraVariant[] = [dora, pissa, lora];

/** Returns the first variant that the options select. */
export function selectVariant(options: LoraOptions, variants: readonly LoraVariant[]): LoraVariant {
  return variants.find((variant) => variant.selects(options)) ?? lora;
}

/** Creates an adapted layer. Layers with the same scale share its tensor. */
export const createLayer = (
  variant: LoraVariant,
  scalars: Scalars,
  inputs: Omit<LoraLayerInputs, 'scaleTensor'>,
): LoraLayer => variant.init({ ...inputs, scaleTensor: inputs.scale === 1 ? null : scalars(inputs.scale) });
