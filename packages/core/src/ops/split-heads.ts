import { reshape, transpose, type Tensor2D, type Tensor4D } from '@tensorflow/tfjs-core';
import { customGradient } from './custom-gradient.js';

/** Features of tokens [rows × length, heads × headDim] by head: [rows, heads, length, headDim]. */
export function splitHeads(x: Tensor2D, rows: number, headDim: number): Tensor4D {
  return customGradient<Tensor4D>(
    [x],
    () => ({ value: transpose(reshape(x, [rows, -1, x.shape[1] / headDim, headDim]), [0, 2, 1, 3]), saved: [] }),
    (gradient) => [joinHeads(gradient)],
  );
}

/** The inverse of {@link splitHeads}, in plain operations. */
export function joinHeads(x: Tensor4D): Tensor2D {
  const [rows, heads, length, headDim] = x.shape;
  return reshape(transpose(x, [0, 2, 1, 3]), [rows * length, heads * headDim]);
}
