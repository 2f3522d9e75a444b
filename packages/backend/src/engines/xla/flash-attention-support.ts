import type { FlashAttentionSupport } from '@whetstone/core/ops/internal';

/**
 * What cuDNN's attention can do on a device, as XLA's compiler for CUDA and JAX 0.10 know it: bfloat16 from compute
 * capability 8.0 (Ampere) on with heads of up to 128 features; from 9.0 (Hopper) on with 256, and with several segments
 * in a row. Null for other devices.
 *
 * @param platform of the plugin's client
 * @param computeCapability such as `9.0`; null where the device tells none
 */
export function flashAttentionSupport(
  platform: string,
  computeCapability: string | null,
): FlashAttentionSupport | null {
  const generation = Number.parseInt(computeCapability ?? '', 10);
  if (platform.toLowerCase() !== 'cuda' || !(generation >= 8)) return null;
  return generation >= 9 ? { mostFeatures: 256, packed: true } : { mostFeatures: 128, packed: false };
}
