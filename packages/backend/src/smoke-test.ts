import { getKernel, type TensorInfo } from '@tensorflow/tfjs-core';
import type { WhetstoneBackend } from './recorder/backend.js';
import { BACKEND_NAME } from './register.js';

/** [[1, 2], [3, 4]]², row by row. */
export const expectedProduct: readonly number[] = [7, 10, 15, 22];

/**
 * A library that loads but cannot multiply is of no use. Works on a backend that tfjs-core has not been given yet.
 * Throws with what came out.
 */
export function multiplyOnce(backend: WhetstoneBackend): void {
  const kernel = getKernel('BatchMatMul', BACKEND_NAME);
  if (kernel === undefined) throw new Error('it has no kernel that multiplies');
  const operand = backend.makeTensorInfo([1, 2, 2], 'float32', Float32Array.of(1, 2, 3, 4));
  const product = kernel.kernelFunc({
    inputs: { a: operand, b: operand },
    attrs: { transposeA: false, transposeB: false },
    backend,
  }) as TensorInfo;
  const values = backend.readSync(product.dataId) as Float32Array;
  backend.disposeData(operand.dataId);
  backend.disposeData(product.dataId);
  if (expectedProduct.some((value, index) => values[index] !== value))
    throw new Error(`it multiplies wrongly: [${[...values].join(', ')}]`);
}
