import { matMul, tensor2d, tidy, type Tensor2D } from '@tensorflow/tfjs-core';
import { Matrix, QrDecomposition, SingularValueDecomposition } from 'ml-matrix';
import type { Random } from '@whetstone/core/random';

/** The largest singular triplets of a matrix: left [rows, rank], values [rank], right [rank, columns]; row-major. */
export interface PrincipalComponents {
  readonly left: Float32Array;
  readonly values: Float32Array;
  readonly right: Float32Array;
}

/** Up to this size, the full decomposition is computed. */
const exactSize = 64;
const oversampling = 16;
const iterations = 12;

const toMatrix = (values: ArrayLike<number>, rows: number, columns: number): Matrix =>
  Matrix.from1DArray(rows, columns, Array.from(values));
const hostMatrix = (value: Tensor2D): Matrix => toMatrix(value.dataSync(), value.shape[0], value.shape[1]);
/** Returns an orthonormal basis of the columns. */
const orthonormal = (matrix: Matrix): Matrix =>
  new QrDecomposition(matrix).orthogonalMatrix.subMatrix(0, matrix.rows - 1, 0, matrix.columns - 1);
const deviceMatrix = (matrix: Matrix): Tensor2D =>
  tensor2d(Float32Array.from(matrix.to1DArray()), [matrix.rows, matrix.columns]);

/** Computes a product on the backend and returns it as a host matrix. */
function onDevice(product: () => Tensor2D): Matrix {
  const result = tidy(product);
  const matrix = hostMatrix(result);
  result.dispose();
  return matrix;
}

/**
 * Computes the principal components of `weight` [rows, columns]. Small matrices are decomposed exactly, larger ones by
 * randomised subspace iteration (Halko, Martinsson and Tropp 2011), whose large products run on the backend.
 */
export function principalComponents(weight: Tensor2D, rank: number, random: Random): PrincipalComponents {
  const [rows, columns] = weight.shape;
  if (Math.min(rows, columns) <= exactSize) return takeLargest(hostMatrix(weight), null, rank);
  const width = Math.min(rank + oversampling, rows, columns);
  let basis = orthonormal(
    new Matrix(Array.from({ length: rows }, () => Array.from({ length: width }, () => random.normal()))),
  );
  for (let round = 0; round < iterations; round++) {
    const previous = basis;
    basis = orthonormal(onDevice(() => matMul(weight, matMul(weight, deviceMatrix(previous), true, false))));
  }
  const projected = onDevice(() => matMul(deviceMatrix(basis), weight, true, false));
  return takeLargest(projected, basis, rank);
}

/** Returns the largest triplets of `matrix`, or of `basis · matrix` if `basis` is not null. */
function takeLargest(matrix: Matrix, basis: Matrix | null, rank: number): PrincipalComponents {
  const { leftSingularVectors, diagonal, rightSingularVectors } = new SingularValueDecomposition(matrix, {
    autoTranspose: true,
  });
  const order = diagonal
    .map((value, index) => ({ value, index }))
    .sort((one, other) => other.value - one.value)
    .slice(0, rank);
  const left = basis === null ? leftSingularVectors : basis.mmul(leftSingularVectors);
  const indices = order.map(({ index }) => index);
  return {
    left: Float32Array.from(left.subMatrixColumn(indices).to1DArray()),
    values: Float32Array.from(order, ({ value }) => value),
    right: Float32Array.from(rightSingularVectors.subMatrixColumn(indices).transpose().to1DArray()),
  };
}
