import { matMul, memory, randomUniform, slice, tidy, type Tensor2D } from '@tensorflow/tfjs-core';

/** Shortest duration in seconds that is long enough to measure. */
const MIN_SECONDS = 0.15;
const MAX_SIDE = 4096;

/** Speed of a product of square matrices on tfjs-core's current backend. */
export interface MatmulSpeed {
  /** Rows and columns of each operand. */
  readonly side: number;
  /** Billions of floating-point operations per second: 2 · side³ per product. */
  readonly gigaflops: number;
}

/** Measures products of growing matrices until one measurement takes long enough. */
export async function measureMatmul(): Promise<MatmulSpeed> {
  const before = memory().numTensors;
  for (let side = 256; ; side *= 2) {
    const operand = randomUniform([side, side], -1 / side, 1 / side, 'float32', 1) as Tensor2D;
    const multiply = async (times: number): Promise<number> => {
      const started = performance.now();
      const corner = tidy(() => {
        let product = operand;
        for (let index = 0; index < times; index++) product = matMul(product, operand);
        return slice(product, [0, 0], [1, 1]);
      });
      await corner.data();
      corner.dispose();
      return (performance.now() - started) / 1000;
    };
    // The first run compiles. The best of the others counts, because other programs may run.
    await multiply(4);
    const seconds = Math.min(await multiply(4), await multiply(4), await multiply(4));
    operand.dispose();
    if (seconds < MIN_SECONDS && side < MAX_SIDE) continue;
    if (memory().numTensors !== before) throw new Error('the measurement leaked a tensor');
    return { side, gigaflops: (4 * 2 * side ** 3) / seconds / 1e9 };
  }
}
