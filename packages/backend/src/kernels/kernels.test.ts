import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { fill } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { engines, outcomes, random } from '../test-support.js';

const ops: typeof tf = tf;

type Case = () => tf.Tensor | tf.Tensor[];
type Cases = Readonly<Record<string, Case>>;

const whole = (values: number[], shape: number[] = [values.length]): tf.Tensor => tf.tensor(values, shape, 'int32');
const bool = (values: number[], shape: number[] = [values.length]): tf.Tensor => tf.tensor(values, shape, 'bool');
const x = (): tf.Tensor2D => random<tf.Rank.R2>([3, 4], 1);
const y = (): tf.Tensor2D => random<tf.Rank.R2>([3, 4], 2);
const positive = (): tf.Tensor => tf.add(tf.abs(x()), 0.1);
const cube = (): tf.Tensor3D => random<tf.Rank.R3>([2, 3, 4], 3);

const unaryOps = [
  'abs',
  'neg',
  'sign',
  'square',
  'relu',
  'relu6',
  'exp',
  'expm1',
  'sin',
  'cos',
  'tan',
  'asin',
  'acos',
  'atan',
  'sinh',
  'cosh',
  'tanh',
  'asinh',
  'erf',
  'sigmoid',
  'softplus',
  'elu',
  'selu',
  'ceil',
  'floor',
  'round',
  'isNaN',
  'isInf',
  'isFinite',
  'zerosLike',
  'onesLike',
  'step',
] as const;
const positiveOps = ['log', 'log1p', 'sqrt', 'rsqrt', 'reciprocal', 'acosh', 'atanh'] as const;
const binaryOps = [
  'add',
  'sub',
  'mul',
  'div',
  'maximum',
  'minimum',
  'squaredDifference',
  'atan2',
  'mod',
  'equal',
  'notEqual',
  'less',
  'lessEqual',
  'greater',
  'greaterEqual',
] as const;

const elementwise: Cases = {
  ...Object.fromEntries(
    unaryOps.map((name) => [name, (): tf.Tensor => (ops[name] as (given: tf.Tensor) => tf.Tensor)(x())]),
  ),
  ...Object.fromEntries(
    positiveOps.map((name) => [
      name,
      (): tf.Tensor =>
        (ops[name] as (given: tf.Tensor) => tf.Tensor)(
          name === 'acosh' ? tf.add(positive(), 1) : name === 'atanh' ? tf.mul(x(), 0.9) : positive(),
        ),
    ]),
  ),
  ...Object.fromEntries(binaryOps.map((name) => [name, (): tf.Tensor => ops[name](x(), y())])),
  ...Object.fromEntries(
    binaryOps.map((name) => [`${name} broadcast`, (): tf.Tensor => ops[name](cube(), random([3, 1], 5))]),
  ),
  'int32 arithmetic': () => [
    tf.add(whole([1, 2]), whole([3, -4])),
    tf.sub(whole([1, 2]), 5),
    tf.mul(whole([7, -2]), 3),
    tf.floorDiv(whole([7, -7, 8]), whole([2, 2, -3])),
    tf.mod(whole([7, -7, 8]), whole([2, 3, -3])),
    tf.maximum(whole([1, 5]), 3),
    tf.neg(whole([3])),
    tf.abs(whole([-3])),
    tf.square(whole([-3])),
    tf.sign(whole([-3, 0, 9])),
  ],
  'int32 and float32': () => [
    tf.add(whole([1, 2]), tf.tensor1d([0.5, 0.25])),
    tf.div(whole([7, 8]), whole([2, 3])),
    tf.pow(whole([2, 3]), whole([3, 2])),
  ],
  'bool arithmetic': () => [
    tf.logicalAnd(bool([1, 1, 0]), bool([1, 0, 0])),
    tf.logicalOr(bool([1, 1, 0]), bool([1, 0, 0])),
    tf.logicalXor(bool([1, 1, 0]), bool([1, 0, 0])),
    tf.logicalNot(bool([1, 0])),
    tf.sum(bool([1, 1, 0])),
  ],
  pow: () => [tf.pow(positive(), tf.scalar(2.5)), tf.pow(x(), tf.scalar(3))],
  clipByValue: () => [tf.clipByValue(x(), -0.3, 0.4), tf.clipByValue(x(), 0, 0)],
  cast: () => [
    tf.cast(tf.mul(x(), 5), 'int32'),
    tf.cast(x(), 'bool'),
    tf.cast(whole([0, 3]), 'bool'),
    tf.cast(bool([0, 1]), 'float32'),
    tf.cast(bool([0, 1]), 'int32'),
    tf.cast(whole([4]), 'float32'),
    tf.cast(x(), 'float32'),
  ],
  'step with alpha': () => tf.step(tf.tensor1d([-1, 0, 2, NaN]), 0.3),
  leakyRelu: () => tf.leakyRelu(x(), 0.1),
  prelu: () => tf.prelu(x(), random<tf.Rank.R2>([1, 4], 6)),
  addN: () => tf.addN([x(), y(), x()]),
  where: () => [tf.where(tf.greater(x(), 0), x(), y()), tf.where(bool([1, 0, 1]), random([3], 1), random([3], 2))],
  'where of two dtypes': () => [
    tf.where(bool([1, 0, 1]), whole([1, 2, 3]), random([3], 2)),
    tf.where(bool([1, 0]), bool([0, 1]), whole([5, 6])),
  ],
  'bool as numbers': () => [
    tf.clipByValue(bool([1, 0]), 0, 1),
    tf.step(bool([1, 0])),
    ...Object.values(tf.topk(bool([0, 1, 1]), 2)),
    tf.cast(tf.addN([bool([1, 0]), bool([0, 0])]), 'int32'),
  ],
  'NaN and infinity': () => [
    tf.isNaN(tf.tensor1d([NaN, 1, Infinity])),
    tf.isFinite(tf.tensor1d([NaN, 1, Infinity])),
    tf.isInf(tf.tensor1d([NaN, 1, -Infinity])),
  ],
};

const reductions: Cases = {
  ...Object.fromEntries(
    (['sum', 'mean', 'max', 'min', 'prod'] as const).flatMap((name) => [
      [name, (): tf.Tensor => ops[name](cube())],
      [
        `${name} of axes`,
        (): tf.Tensor[] => [
          ops[name](cube(), 1),
          ops[name](cube(), [0, 2]),
          ops[name](cube(), -1, true),
          ops[name](cube(), [0, 1], true),
        ],
      ],
    ]),
  ),
  'all and any': () => [
    tf.all(bool([1, 1, 0])),
    tf.any(bool([0, 1], [1, 2]), 1),
    tf.all(bool([1, 1, 0, 1], [2, 2]), 0),
  ],
  'argMax and argMin': () => [tf.argMax(cube(), 2), tf.argMin(cube(), 0), tf.argMax(whole([3, 9, 2]))],
  cumsum: () => [
    tf.cumsum(cube(), 2),
    tf.cumsum(cube(), 1),
    tf.cumsum(cube(), 2, true, true),
    tf.cumsum(whole([1, 2, 3])),
  ],
  cumprod: () => tf.cumprod(x(), 1),
  softmax: () => [
    tf.softmax(x()),
    tf.softmax(cube()),
    tf.logSoftmax(x()),
    tf.logSoftmax(tf.mul(x(), 50) as tf.Tensor2D),
  ],
  'softmax of six axes': () => [
    tf.softmax(random([1, 2, 1, 2, 2, 3], 4)),
    tf.logSoftmax(random([2, 1, 2, 1, 2, 3], 5) as tf.Tensor),
  ],
  logSumExp: () => tf.logSumExp(cube(), 1),
  topk: () => Object.values(tf.topk(x(), 2)),
  moments: () => Object.values(tf.moments(x(), 1)),
  norm: () => tf.norm(x()),
};

const matrices: Cases = {
  'matMul, all orientations': () => [
    tf.matMul(x(), random<tf.Rank.R2>([4, 5], 7)),
    tf.matMul(x(), random<tf.Rank.R2>([5, 4], 7), false, true),
    tf.matMul(x(), random<tf.Rank.R2>([3, 5], 7), true, false),
    tf.matMul(x(), random<tf.Rank.R2>([5, 3], 7), true, true),
  ],
  'matMul of batches': () => [
    tf.matMul(cube(), random([2, 4, 5], 7)),
    tf.matMul(cube(), random([2, 5, 4], 7), false, true),
    tf.matMul(cube(), random([2, 3, 5], 7), true),
    tf.matMul(random([1, 3, 4], 1), random([5, 4, 2], 2)),
    tf.matMul(random([2, 3, 3, 4], 1), random([2, 3, 4, 2], 2)),
  ],
  'matMul with a shared matrix': () => [
    tf.matMul(cube(), random([4, 5], 7)),
    tf.matMul(cube(), random([5, 4], 7), false, true),
    tf.matMul(random([3, 4], 7), random([2, 4, 5], 3)),
    tf.matMul(random([1, 3, 4], 7), random([1, 4, 5], 3)),
    tf.matMul(cube(), random([3, 5], 7), true),
  ],
  'fused matMul': () => [
    tf.fused.matMul({ a: x(), b: random<tf.Rank.R2>([4, 5], 7), bias: random([5], 8), activation: 'relu' }),
    tf.fused.matMul({ a: x(), b: random<tf.Rank.R2>([4, 5], 7), activation: 'sigmoid' }),
  ],
  'einsum of whole numbers': () =>
    tf.einsum('ij,jk->ik', whole([1, 2, 3, 4], [2, 2]), whole([5, 6, 7, 2 ** 25 + 1], [2, 2])),
  einsum: () => [
    tf.einsum('ij,jk->ik', x(), random([4, 5], 7)),
    tf.einsum('bij,bij->bi', cube(), cube()),
    tf.einsum('ijk->ki', cube()),
  ],
  dot: () => tf.dot(random<tf.Rank.R1>([4], 1), random<tf.Rank.R1>([4], 2)),
  outerProduct: () => tf.outerProduct(random<tf.Rank.R1>([4], 1), random<tf.Rank.R1>([3], 2)),
};

const movement: Cases = {
  transpose: () => [tf.transpose(cube()), tf.transpose(cube(), [1, 0, 2]), tf.transpose(whole([1, 2, 3, 4], [2, 2]))],
  'reshape, expandDims, squeeze': () => [
    tf.reshape(cube(), [4, 6]),
    tf.reshape(cube(), [-1]),
    tf.expandDims(x(), 1),
    tf.squeeze(random([1, 3, 1], 1)),
    tf.add(tf.reshape(x(), [4, 3]), 1),
    tf.sum(tf.reshape(tf.mul(x(), 2), [2, 6]), 1),
  ],
  slice: () => [tf.slice(cube(), [1, 0, 2], [1, 2, 2]), tf.slice(cube(), 1), tf.slice(x(), [0, 1], [-1, 2])],
  stridedSlice: () => [
    tf.stridedSlice(x(), [0, 0], [3, 4], [2, 2]),
    tf.stridedSlice(x(), [2, 3], [0, 0], [-1, -2]),
    tf.stridedSlice(x(), [1, 0], [2, 4], [1, 1], 0, 0, 0, 0, 1),
  ],
  'concat of dtypes': () => [
    tf.concat([x(), tf.cast(y(), 'bool')], 0),
    tf.concat([whole([1, 2]), tf.tensor1d([2.75, -3.5])]),
  ],
  concat: () => [tf.concat([x(), y()], 0), tf.concat([cube(), cube()], -1), tf.concat([x()], 0)],
  split: () => [...tf.split(x(), 2, 1), ...tf.split(x(), [1, 2], 0)],
  'stack and unstack': () => [
    tf.stack([x(), y()]),
    tf.stack([x(), y()], -1),
    ...tf.unstack(x()),
    ...tf.unstack(x(), 1),
  ],
  pad: () => [
    tf.pad(
      x(),
      [
        [1, 0],
        [0, 2],
      ],
      0.5,
    ),
    tf.pad(whole([1, 2]), [[1, 1]]),
    tf.mirrorPad(
      x(),
      [
        [1, 1],
        [0, 1],
      ],
      'reflect',
    ),
  ],
  tile: () => [tf.tile(x(), [2, 3]), tf.tile(whole([1, 2]), [2])],
  broadcastTo: () => tf.broadcastTo(random([3, 1], 1), [2, 3, 4]),
  reverse: () => [tf.reverse(x(), 1), tf.reverse(cube())],
  'space and batch': () => [
    tf.spaceToBatchND(
      random([1, 4, 4, 1], 1),
      [2, 2],
      [
        [0, 0],
        [0, 0],
      ],
    ),
    tf.batchToSpaceND(
      random([4, 2, 2, 1], 1),
      [2, 2],
      [
        [0, 0],
        [0, 0],
      ],
    ),
  ],
};

const indexing: Cases = {
  gather: () => [
    tf.gather(x(), whole([2, 0, 2])),
    tf.gather(x(), whole([3, 1], [2, 1]), 1),
    tf.gather(cube(), whole([1, 0, 2, 1], [2, 2]), 1, 1),
  ],
  gatherND: () => tf.gatherND(x(), whole([0, 1, 2, 3], [2, 2])),
  scatterND: () => tf.scatterND(whole([1, 3, 1], [3, 1]), random([3, 2], 4), [5, 2]),
  tensorScatterUpdate: () => tf.tensorScatterUpdate(x(), whole([0, 2], [2, 1]), random([2, 4], 9)),
  unsortedSegmentSum: () => tf.unsortedSegmentSum(x(), whole([1, 0, 1]) as tf.Tensor1D, 3),
  oneHot: () => [tf.oneHot(whole([0, 2, 5]), 4), tf.oneHot(whole([1, 0], [1, 2]), 3, 2, -1, 'float32')],
  'fill, range, linspace': () => [
    fill([2, 3], 0.5),
    fill([2], 7, 'int32'),
    tf.range(0, 5),
    tf.range(5, 1, -2, 'int32'),
    tf.range(0, 1, 0.25, 'float32'),
    tf.linspace(0, 1, 5),
    fill([], 3),
  ],
  'lowerBound and upperBound': () => [
    tf.lowerBound(tf.tensor2d([[1, 3, 3, 7]]), tf.tensor2d([[3, 8, 0]])),
    tf.upperBound(tf.tensor2d([[1, 3, 3, 7]]), tf.tensor2d([[3, 8, 0]])),
  ],
  'lowerBound of dtypes': () => tf.lowerBound(whole([1, 3, 3, 7]) as tf.Tensor1D, tf.tensor1d([3.5, 0.5])),
  bincount: () => [
    tf.bincount(whole([1, 2, 1]) as tf.Tensor1D, tf.tensor1d([]), 4),
    tf.bincount(whole([1, 2, 1]) as tf.Tensor1D, tf.tensor1d([0.5, 1, 2]), 4),
  ],
  'rows for an empty result': () => [
    tf.scatterND(whole([1, 0], [2, 1]), tf.zeros([2, 0, 3]), [4, 0, 3]),
    tf.tensorScatterUpdate(tf.zeros([3, 0]), whole([1], [1, 1]), tf.zeros([1, 0])),
  ],
  // Programs that differ only in the dtype of a value from the host.
  ...Object.fromEntries(
    (['float32', 'int32', 'bool'] as const).flatMap((dtype) => [
      [`fill of ${dtype}`, (): tf.Tensor => fill([2, 3], 1, dtype)],
      [`oneHot of ${dtype}`, (): tf.Tensor => tf.oneHot(whole([1, 0]), 2, 1, 0, dtype)],
    ]),
  ),
  'empty tensors': () => [tf.concat([tf.zeros([0, 4]), x()], 0), tf.sum(tf.zeros([0, 3]), 0)],
};

const onHost: Cases = {
  'a kernel of the cpu backend': () => tf.reverse(tf.image.flipLeftRight(random([1, 2, 3, 1], 1) as tf.Tensor4D), 2),
  complex: () => [tf.real(tf.complex(x(), y())), tf.imag(tf.complex(x(), y())), tf.abs(tf.complex(x(), y()))],
  fft: () => tf.real(tf.fft(tf.complex(random<tf.Rank.R1>([4], 1), random<tf.Rank.R1>([4], 2)))),
};

/** TensorFlow runs a small graph op by op three times, then compiled. XLA always compiles. */
const runs = { tensorflow: 5, xla: 2 };

describe.each(engines)('kernels equal the cpu backend, on $engine', ({ engine, missing, start }) => {
  beforeAll(async () => {
    if (!missing) expect((await start()).engine.name).toBe(engine);
  });

  for (const [family, cases] of Object.entries({ elementwise, reductions, matrices, movement, indexing, onHost })) {
    describe(family, () => {
      for (const [name, compute] of Object.entries(cases)) {
        test.skipIf(missing)(name, async () => {
          const expected = await outcomes('cpu', compute);
          for (let run = 0; run < runs[engine]; run++) {
            const found = await outcomes('whetstone', compute);
            expect(found.map(({ shape, dtype }) => ({ shape, dtype }))).toEqual(
              expected.map(({ shape, dtype }) => ({ shape, dtype })),
            );
            found.forEach(({ values }, index) => {
              values.forEach((value, position) => {
                const target = expected[index]?.values[position] ?? NaN;
                if (Number.isFinite(target))
                  expect(
                    Math.abs(value - target),
                    `${name}[${index}][${position}]: ${value} for ${target}`,
                  ).toBeLessThanOrEqual(2e-6 + 2e-5 * Math.abs(target));
                else expect(value).toBe(target);
              });
            });
          }
        });
      }
    });
  }
});
