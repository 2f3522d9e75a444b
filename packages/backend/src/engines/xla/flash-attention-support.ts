import type { FlashAttentionSupport } from '@whetstone/core/ops/internal';

/**
 * Returns what cuDNN's bfloat16 attention supports on a device, or null if it has none. From compute capability 8.0
 * (Ampere) on, heads may have 128 features; from 9.0 (Hopper) on, 256, and a row may hold several sequences. These are
 * the limits of XLA's compiler for CUDA and of JAX 0.10.
 *
 * @param platform of the plugin's client
 * @param computeCapability such as `9.0`; null if the device does not report one
 */
export function flashAttentionSupport(
  platform: string,
  computeCapability: string | null,
): FlashAttentionSupport | null {
  const generation = Number.parseInt(computeCapability ?? '', 10);
  if (platform.toLowerCase() !== 'cuda' || !(generation >= 8)) return null;
  return generation >= 9 ? { mostFeatures: 256, packed: true } : { mostFeatures: 128, packed: false };
}
