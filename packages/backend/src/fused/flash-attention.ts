import { WhetstoneError } from '@whetstone/core/contract';
import type { Kernel } from '../kernels/kernel.js';
import type { Spec } from '../recorder/types.js';
import { lowerFlashAttention, lowerFlashAttentionGradient } from './flash-attention.stablehlo.js';

/** Only an engine whose device has the library says that it can: nobody asks another one. */
function onCudaOnly(): never {
  throw new WhetstoneError('INTERNAL', 'Flash attention was asked for where there is none.', {
    expected: 'a CUDA device beneath the engine xla',
  });
}

const places = ['lengths', 'queryOffsets', 'keyOffsets'] as const;

/** `flashAttention` of `@whetstone/core/ops`, by cuDNN. */
const flashAttention: Kernel = {
  name: 'WhetstoneFlashAttention',
  inputs: ['query', 'key', 'value', ...places],
  list: true,
  eager: false,
  rule: ([query, , , lengths], { window }) => {
    const { shape } = query as Spec;
    const [rows = 1, length = 1, heads = 1] = shape;
    const statistics = { shape: [rows * (lengths?.shape[1] ?? 1), heads, length], dtype: 'float32' as const };
    return { outputs: [{ shape, dtype: 'float32' }, statistics], parameters: [window as number] };
  },
  tensorflow: onCudaOnly,
  stablehlo: (b, inputs, _host, [window]) => lowerFlashAttention(b, inputs, window as number),
};

const flashAttentionGradient: Kernel = {
  name: 'WhetstoneFlashAttentionGrad',
  inputs: ['gradient', 'query', 'key', 'value', 'result', 'statistics', ...places],
  list: true,
  eager: false,
  rule: ([, query, key, value], { window }) => ({
    outputs: [query as Spec, key as Spec, value as Spec].map(({ shape }) => ({ shape, dtype: 'float32' as const })),
    parameters: [window as number],
  }),
  tensorflow: onCudaOnly,
  stablehlo: (b, inputs, _host, [window]) => lowerFlashAttentionGradient(b, inputs, window as number),
};

export const flashAttentionKernels: readonly Kernel[] = [flashAttention, flashAttentionGradient];
