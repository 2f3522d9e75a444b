import { expect, test } from 'vitest';
import { flashAttentionSupport } from './flash-attention-support.js';

test.each([
  ['cuda', '9.0', { mostFeatures: 256, packed: true }],
  ['cuda', '10.3', { mostFeatures: 256, packed: true }],
  ['CUDA', '8.6', { mostFeatures: 128, packed: false }],
  ['cuda', '7.5', null],
  ['cuda', null, null],
  ['cpu', null, null],
  ['rocm', '9.4', null],
] as const)('%s of compute capability %s', (platform, computeCapability, expected) => {
  expect(flashAttentionSupport(platform, computeCapability)).toEqual(expected);
});
