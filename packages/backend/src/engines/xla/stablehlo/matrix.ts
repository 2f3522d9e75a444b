import { backend_util } from '@tensorflow/tfjs-core';
import { WhetstoneError } from '@whetstone/core/contract';
import { sizeOfShape } from '@whetstone/core/util';
import type { Hlo, ModuleBuilder, Row } from './builder.js';
import type { Attributes } from '../../../kernels/emitter.js';

const flagOf = (attributes: Attributes, name: string): boolean => {
  const attribute = attributes[name];
  return attribute?.kind === 'bool' && attribute.value;
};

/**
 * Products of bfloat16 numbers are added up in float32. An accelerator rounds the sums to bfloat16, as TensorFlow's
 * products do: what reads them, and what is kept for the way back, is half as long then. A processor's compiler would
 * do that in a pass of its own. Whole numbers stay whole.
 */
function typeOfProduct(b: ModuleBuilder, operands: Hlo['type']): Hlo['type'] {
  return operands === 'bfloat16' && b.onProcessor ? 'float32' : operands;
}

/** `[batch…, left…, right…]` of a product that contracts one axis of each; batch axes come first in both. */
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

/** Where one side of a result has fewer rows than this, it is narrow: an adapter's rank. */
const NARROW = 128;

/** From here on a result has so many columns that XLA's CPU library packs them over and over on one thread. */
const WIDE = 8192;

/**
 * A product of two matrices. XLA's CPU library takes one and the same product up to eight times as long where the wrong
 * side is the long one: there the transposed result is computed, whose transposition costs little, or nothing, where
 * what comes next reads it so.
 */
const matMul: Row = (b, [x, y], attributes) => {
  const contractX = flagOf(attributes, 'transpose_a') ? 0 : 1;
  const contractY = flagOf(attributes, 'transpose_b') ? 1 : 0;
  const rows = x!.shape[1 - contractX] ?? 1;
  const columns = y!.shape[1 - contractY] ?? 1;
  const narrow = contractX === 0 && contractY === 0 && columns < rows && columns <= NARROW;
  const wide = contractX === 1 && contractY === 1 && columns > rows && columns >= WIDE;
  return b.onProcessor && (narrow || wide)
    ? b.transpose(dot(b, y!, x!, 0, contractY, contractX), [1, 0])
    : dot(b, x!, y!, 0, contractX, contractY);
};

/**
 * Batches are folded into one axis: dots of three axes are the ones that XLA's CPU compiler gives to its fast routine.
 */
const batchMatMul: Row = (b, [x, y], attributes) => {
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

/** Takes the diagonal of axes that share a label, and sums those labels that nobody else has. */
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
  const alone = [...labels].flatMap((label, axis) => (needed.includes(label) ? [] : [axis]));
  return {
    tensor: alone.length === 0 ? x : b.reduce('add', x, alone, 0),
    labels: [...labels].filter((label) => needed.includes(label)).join(''),
  };
}

/** One batched product over axes that are sorted into batch, free and contracted ones, and folded. */
const einsum: Row = (b, inputs, { equation }) => {
  if (equation?.kind !== 'string') throw new WhetstoneError('INTERNAL', 'An einsum without its equation.');
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

export const matrixRows: Readonly<Record<string, Row>> = { MatMul: matMul, BatchMatMulV2: batchMatMul, Einsum: einsum };
