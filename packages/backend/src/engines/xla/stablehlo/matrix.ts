import { backend_util } from '@tensorflow/tfjs-core';
import { WhetstoneError } from '@whetstone/core/contract';
import { sizeOfShape } from '@whetstone/core/util';
import type { Hlo, ModuleBuilder, OpLowering } from './builder.js';
import type { Attributes } from '../../../kernels/emitter.js';

const flagOf = (attributes: Attributes, name: string): boolean => {
  const attribute = attributes[name];
  return attribute?.kind === 'bool' && attribute.value;
};

/**
 * Returns the dtype of a product. bfloat16 products are summed in float32. On an accelerator the result is rounded to
 * bfloat16, as TensorFlow's products are, which halves its memory. A CPU compiler would round in a separate pass.
 */
function typeOfProduct(b: ModuleBuilder, operands: Hlo['type']): Hlo['type'] {
  return operands === 'bfloat16' && b.onProcessor ? 'float32' : operands;
}

/**
 * Adds a product that contracts one axis of each operand: `[batch…, free axes of x…, free axes of y…]`. Batch axes come
 * first in both operands.
 */
function dot(b: ModuleBuilder, x: Hlo, y: Hlo, batch: number, contractX: number, contractY: number): Hlo {
  const axes = Array.from({ length: batch }, (_, axis) => axis).join(', ');
  const free = (of: Hlo, contracted: number): number[] =>
    of.shape.filter((_, axis) => axis >= batch && axis !== contracted);
  const batches = batch === 0 ? '' : `lhs_batching_dimensions = [${axes}], rhs_batching_dimensions = [${axes}], `;
  b.work +=
    sizeOfShape(x.shape) *
    (sizeOfShape(y.shape) / Math.max(1, sizeOfShape(y.shape.slice(0, batch)) * (y.shape[contractY] ?? 1)));
  const result = typeOfProduct(b, x.type);
  const precision = `#stablehlo<precision ${x.type === 'bfloat16' ? 'DEFAULT' : 'HIGHEST'}>`;
  const numbers =
    `#stablehlo.dot<${batches}lhs_contracting_dimensions = [${contractX}], rhs_contracting_dimensions = ` +
    `[${contractY}]>`;
  return b.call(
    'stablehlo.dot_general',
    [x, y],
    result,
    [...x.shape.slice(0, batch), ...free(x, contractX), ...free(y, contractY)],
    `dot_dimension_numbers = ${numbers}, precision_config = [${precision}, ${precision}]`,
  );
}

/** Most columns of a narrow result, such as an adapter's rank. */
const MAX_NARROW = 128;

/** Columns from which XLA's CPU library repeatedly packs a result on one thread. */
const MIN_WIDE = 8192;

/**
 * Adds a product of two matrices. XLA's CPU library is up to eight times as slow if the long side is the wrong one. The
 * transposed product is then computed instead. Its transposition costs little, or nothing if the next operation reads
 * the transposed result.
 */
const matMul: OpLowering = (b, [x, y], attributes) => {
  const contractX = flagOf(attributes, 'transpose_a') ? 0 : 1;
  const contractY = flagOf(attributes, 'transpose_b') ? 1 : 0;
  const rows = x!.shape[1 - contractX] ?? 1;
  const columns = y!.shape[1 - contractY] ?? 1;
  const narrow = contractX === 0 && contractY === 0 && columns < rows && columns <= MAX_NARROW;
  const wide = contractX === 1 && contractY === 1 && columns > rows && columns >= MIN_WIDE;
  return b.onProcessor && (narrow || wide)
    ? b.transpose(dot(b, y!, x!, 0, contractY, contractX), [1, 0])
    : dot(b, x!, y!, 0, contractX, contractY);
};

/** Adds a batched product. Batch axes are folded into one, because XLA's fast CPU routine takes three axes. */
const batchMatMul: OpLowering = (b, [x, y], attributes) => {
  const batch = backend_util.assertAndGetBroadcastShape(
    x!.shape.slice(0, -2) as number[],
    y!.shape.slice(0, -2) as number[],
  );
  const folded = (z: Hlo): Hlo =>
    b.reshape(b.broadcast(z, [...batch, ...z.shape.slice(-2)]), [sizeOfShape(batch), ...z.shape.slice(-2)]);
  const product = dot(
    b,
    folded(x!),
    folded(y!),
    1,
    flagOf(attributes, 'adj_x') ? 1 : 2,
    flagOf(attributes, 'adj_y') ? 2 : 1,
  );
  return b.reshape(product, [...batch, ...product.shape.slice(-2)]);
};

/** Sums the axes of an operand whose labels are in neither the other operand nor the result (`needed`). */
function prepare(
  b: ModuleBuilder,
  x: Hlo,
  labels: string,
  needed: string,
): { readonly tensor: Hlo; readonly labels: string } {
  if (new Set(labels).size !== labels.length)
    throw new WhetstoneError(
      'BACKEND_FAILED',
      `An einsum that repeats a label in one operand (${labels}) has no lowering to StableHLO.`,
    );
  const summed = [...labels].flatMap((label, axis) => (needed.includes(label) ? [] : [axis]));
  return {
    tensor: summed.length === 0 ? x : b.reduce('add', x, summed, 0),
    labels: [...labels].filter((label) => needed.includes(label)).join(''),
  };
}

/** Adds one batched product. Axes are sorted into batch, free and contracted axes, and each group is folded. */
const einsum: OpLowering = (b, inputs, { equation }) => {
  if (equation?.kind !== 'string') throw new WhetstoneError('INTERNAL', 'An einsum has no equation.');
  const [left = '', result = ''] = equation.value.split('->');
  const terms = left.split(',');
  const order = (tensor: Hlo, from: string, to: string): Hlo =>
    b.transpose(
      tensor,
      [...to].map((label) => from.indexOf(label)),
    );
  if (inputs.length === 1) {
    const only = prepare(b, inputs[0] as Hlo, terms[0] ?? '', result);
    return order(only.tensor, only.labels, result);
  }
  const [x, y] = [
    prepare(b, inputs[0] as Hlo, terms[0] ?? '', (terms[1] ?? '') + result),
    prepare(b, inputs[1] as Hlo, terms[1] ?? '', (terms[0] ?? '') + result),
  ];
  const shared = [...x.labels].filter((label) => y.labels.includes(label));
  const batch = shared.filter((label) => result.includes(label)).join('');
  const contracted = shared.filter((label) => !result.includes(label)).join('');
  const freeOf = (labels: string): string => [...labels].filter((label) => !shared.includes(label)).join('');
  const [freeX, freeY] = [freeOf(x.labels), freeOf(y.labels)];
  const sizes = new Map<string, number>();
  for (const { tensor, labels } of [x, y])
    [...labels].forEach((label, axis) => sizes.set(label, tensor.shape[axis] ?? 1));
  const shapeOf = (labels: string): number[] => [...labels].map((label) => sizes.get(label) ?? 1);
  const size = (labels: string): number => sizeOfShape(shapeOf(labels));
  const first = b.reshape(order(x.tensor, x.labels, batch + freeX + contracted), [
    size(batch),
    size(freeX),
    size(contracted),
  ]);
  const second = b.reshape(order(y.tensor, y.labels, batch + contracted + freeY), [
    size(batch),
    size(contracted),
    size(freeY),
  ]);
  const product = b.reshape(dot(b, first, second, 1, 2, 1), shapeOf(batch + freeX + freeY));
  return order(product, batch + freeX + freeY, result);
};

export const matrixLowerings: Readonly<Record<string, OpLowering>> = {
  MatMul: matMul,
  BatchMatMulV2: batchMatMul,
  Einsum: einsum,
};
