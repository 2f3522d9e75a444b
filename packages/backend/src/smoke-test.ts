import { getKernel, matMul, tensor2d, tidy, type TensorInfo } from '@tensorflow/tfjs-core';
import type { WhetstoneBackend } from './recorder/backend.js';
import { BACKEND_NAME } from './register.js';

const operand = [1, 2, 3, 4] as const;
/** [[1, 2], [3, 4]]², row by row. */
const expected: readonly number[] = [7, 10, 15, 22];

function checkProduct(values: ArrayLike<number>): void {
  if (expected.some((value, index) => values[index] !== value))
    throw new Error(`its matrix product is [${Array.from(values).join(', ')}] instead of [${expected.join(', ')}]`);
}

/**
 * Multiplies two matrices on tfjs-core's current backend. A library may load but not compute, such as tfjs-node under a
 * newer Node.js.
 *
 * @throws `Error` with the wrong product
 */
export function smokeTestCurrentBackend(): void {
  const product = tidy(() => {
    const matrix = tensor2d([...operand], [2, 2]);
    return matMul(matrix, matrix);
  });
  const values = product.dataSync();
  product.dispose();
  checkProduct(values);
}

/** Multiplies two matrices on a backend that tfjs-core does not have yet. Throws as {@link smokeTestCurrentBackend}. */
export function smokeTestBackend(untested: WhetstoneBackend): void {
  const kernel = getKernel('BatchMatMul', BACKEND_NAME);
  if (kernel === undefined) throw new Error('it has no kernel for matrix products');
  const matrix = untested.makeTensorInfo([1, 2, 2], 'float32', Float32Array.from(operand));
  const product = kernel.kernelFunc({
    inputs: { a: matrix, b: matrix },
    attrs: { transposeA: false, transposeB: false },
    backend: untested,
  }) as TensorInfo;
  const values = untested.readSync(product.dataId) as Float32Array;
  untested.disposeData(matrix.dataId);
  untested.disposeData(product.dataId);
  checkProduct(values);
}
