import { matMul, memory, randomUniform, slice, tidy, type Tensor2D } from '@tensorflow/tfjs-core';

/** Seconds that a measurement should take at least, to be worth something. */
const LEAST_SECONDS = 0.15;
const MOST_SIDE = 4096;

/** How fast tfjs-core's current backend multiplies square matrices. */
export interface MatmulSpeed {
  /** Rows and columns of each operand. */
  readonly side: number;
  /** Floating-point operations a second, in billions: 2 · side³ a product. */
  readonly gigaflops: number;
}

/** Multiplies larger and larger matrices until it takes long enough. Leaves no tensor behind. */
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
    // The first one compiles; of the others the best counts, as the machine may be at something else, too.
    await multiply(4);
    const seconds = Math.min(await multiply(4), await multiply(4), await multiply(4));
    operand.dispose();
    if (seconds < LEAST_SECONDS && side < MOST_SIDE) continue;
    if (memory().numTensors !== before) throw new Error('the measurement left a tensor behind');
    return { side, gigaflops: (4 * 2 * side ** 3) / seconds / 1e9 };
  }
}
