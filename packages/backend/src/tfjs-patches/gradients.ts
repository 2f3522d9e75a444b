import '@whetstone/core/tfjs-gradients';
import {
  broadcastTo,
  broadcast_util,
  cast,
  getGradient,
  matMul,
  mul,
  registerGradient,
  reshape,
  square,
  sub,
  sum,
  unsortedSegmentSum,
  util,
  where,
  zerosLike,
  type GradConfig,
  type Tensor,
  type Tensor1D,
} from '@tensorflow/tfjs-core';

// Gradients that replace those of tfjs-core for every backend. tfjs-core's upload arrays of ones as large as an
// activation, recompute powers, or are wrong under broadcasting. These use plain operations and no data from the host.

/** Returns a shape with length 1 for the reduced axes. */
function keepDimensions(shape: readonly number[], axis: unknown): number[] {
  const axes = new Set(util.parseAxisParam((axis ?? null) as number[], shape as number[]));
  return shape.map((size, position) => (axes.has(position) ? 1 : size));
}

const sumGradient: GradConfig = {
  kernelName: 'Sum',
  inputsToSave: ['x'],
  gradFunc: (dy, [x], { axis }) => ({
    x: () => broadcastTo(reshape(dy as Tensor, keepDimensions(x!.shape, axis)), x!.shape),
  }),
};

const meanGradient: GradConfig = {
  kernelName: 'Mean',
  inputsToSave: ['x'],
  gradFunc: (dy, [x], { axis }) => ({
    x: () => {
      const count = x!.size / Math.max(1, (dy as Tensor).size);
      return broadcastTo(reshape(mul(dy as Tensor, 1 / count), keepDimensions(x!.shape, axis)), x!.shape);
    },
  }),
};

/** d(x^(−1/2))/dx = −1/2 · y³, from the result alone. */
const rsqrtGradient: GradConfig = {
  kernelName: 'Rsqrt',
  outputsToSave: [true],
  gradFunc: (dy, [y]) => ({ x: () => mul(dy as Tensor, mul(mul(y!, -0.5), square(y!))) }),
};

const softmaxGradient: GradConfig = {
  kernelName: 'Softmax',
  outputsToSave: [true],
  gradFunc: (dy, [y]) => ({ logits: () => mul(sub(dy as Tensor, sum(mul(dy as Tensor, y!), -1, true)), y!) }),
};

/** Selects the gradient instead of multiplying it by a mask, which would turn 0 · ∞ into NaN. */
const selectGradient: GradConfig = {
  kernelName: 'Select',
  inputsToSave: ['condition'],
  gradFunc: (dy, [condition]) => ({
    condition: () => cast(zerosLike(condition!), 'float32'),
    t: () => where(condition!, dy as Tensor, zerosLike(dy as Tensor)),
    e: () => where(condition!, zerosLike(dy as Tensor), dy as Tensor),
  }),
};

/** Sums a gradient over the batch axes along which `shape` was broadcast. */
function undoBroadcast(gradient: Tensor, shape: number[]): Tensor {
  const axes = broadcast_util.getReductionAxes(shape, gradient.shape);
  return axes.length === 0 ? reshape(gradient, shape) : reshape(sum(gradient, axes), shape);
}

const flatten = (x: Tensor): Tensor => reshape(x, [-1, x.shape.at(-1) ?? 1]);

/** Matrix products, batched and broadcast. The gradient of a matrix that a batch shares is one 2-D product. */
const matMulGradient: GradConfig = {
  kernelName: 'BatchMatMul',
  inputsToSave: ['a', 'b'],
  gradFunc: (gradient, saved, attributes) => {
    const dy = gradient as Tensor;
    const [a, b] = saved as [Tensor, Tensor];
    const { transposeA, transposeB } = attributes as unknown as { transposeA: boolean; transposeB: boolean };
    const sharedB = b.rank === 2 && a.rank > 2 && !transposeA;
    return {
      a: () => undoBroadcast(transposeA ? matMul(b, dy, transposeB, true) : matMul(dy, b, false, !transposeB), a.shape),
      b: () => {
        if (sharedB)
          return transposeB
            ? matMul(flatten(dy), flatten(a), true, false)
            : matMul(flatten(a), flatten(dy), true, false);
        return undoBroadcast(transposeB ? matMul(dy, a, true, transposeA) : matMul(a, dy, !transposeA, false), b.shape);
      },
    };
  },
};

const originalGatherGradient = getGradient('GatherV2');

/** Adds gradients of gathered rows with a segment sum. tfjs-core's gradient handles other axes. */
const gatherGradient: GradConfig = {
  kernelName: 'GatherV2',
  inputsToSave: ['x', 'indices'],
  gradFunc: (dy, saved, attributes) => {
    const [x, indices] = saved as [Tensor, Tensor];
    const { axis, batchDims } = attributes as unknown as { axis: number; batchDims?: number };
    if (axis !== 0 || (batchDims ?? 0) !== 0) return originalGatherGradient.gradFunc(dy, saved, attributes);
    return {
      x: () =>
        reshape(
          unsortedSegmentSum(
            reshape(dy as Tensor, [indices.size, ...x.shape.slice(1)]),
            reshape(indices, [-1]) as Tensor1D,
            x.shape[0] ?? 0,
          ),
          x.shape,
        ),
      indices: () => zerosLike(indices),
    };
  },
};

const gradients: readonly GradConfig[] = [
  sumGradient,
  meanGradient,
  rsqrtGradient,
  softmaxGradient,
  selectGradient,
  matMulGradient,
  gatherGradient,
];

/** Replaces tfjs-core's gradients. */
export function registerGradients(): void {
  for (const gradient of gradients) registerGradient(gradient);
}
