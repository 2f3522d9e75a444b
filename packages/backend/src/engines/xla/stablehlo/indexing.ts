import { sizeOfShape } from '@whetstone/core/util';
import { type StorageDtype } from '../../../recorder/types.js';
import { i64s, isFloat, tensorType, type Hlo, type ModuleBuilder, type OpLowering } from './builder.js';
import { intOf } from './movement.js';

const from = (first: number, count: number): number[] =>
  Array.from({ length: Math.max(0, count) }, (_, index) => first + index);
const list = (values: readonly number[]): string => `[${values.join(', ')}]`;

/**
 * Replaces elements with an index outside the table by NaN or the smallest integer, so that the mistake is visible. XLA
 * would use the nearest row.
 */
function fillOutside(b: ModuleBuilder, picked: Hlo, inside: Hlo, axes: readonly number[]): Hlo {
  const filler = isFloat(picked.type) ? NaN : picked.type === 'int32' ? -(2 ** 31) : 0;
  return b.select(b.broadcastAlong(inside, picked.shape, axes), picked, b.splat(picked.type, picked.shape, filler));
}

const within = (b: ModuleBuilder, indices: Hlo, size: Hlo): Hlo =>
  b.binary('and', b.compare('GE', indices, b.splat('int32', indices.shape, 0)), b.compare('LT', indices, size));

/** Lowers a gather along one axis. The first `batch_dims` axes are common to table and indices. */
const gather: OpLowering = (b, [x, indices, axisOf], attributes) => {
  const [signedAxis = 0] = b.numbers(axisOf!);
  const rank = x!.shape.length;
  const axis = signedAxis < 0 ? signedAxis + rank : signedAxis;
  const batch = intOf(attributes, 'batch_dims');
  const picked = indices!.shape.length;
  const batches = from(0, batch);
  const shape = [...x!.shape.slice(0, axis), ...indices!.shape.slice(batch), ...x!.shape.slice(axis + 1)];
  if (sizeOfShape(shape) === 0) return b.splat(x!.type, shape, 0);
  const offsets = [...from(batch, axis - batch), ...from(axis + picked - batch, rank - axis - 1)];
  const numbers =
    `#stablehlo.gather<offset_dims = ${list(offsets)}, collapsed_slice_dims = [${axis}], operand_batching_dims = ` +
    `${list(batches)}, start_indices_batching_dims = ${list(batches)}, start_index_map = [${axis}], ` +
    `index_vector_dim = ${picked}>`;
  const sizes = x!.shape.map((size, position) => (position === axis || position < batch ? 1 : size));
  const rows = b.call(
    'stablehlo.gather',
    [x!, indices!],
    x!.type,
    shape,
    `dimension_numbers = ${numbers}, slice_sizes = ${i64s(sizes)}, indices_are_sorted = false`,
  );
  return fillOutside(b, rows, within(b, indices!, b.splat('int32', indices!.shape, x!.shape[axis] ?? 0)), [
    ...batches,
    ...from(axis, picked - batch),
  ]);
};

const gatherNd: OpLowering = (b, [x, indices]) => {
  const depth = indices!.shape.at(-1) ?? 0;
  const outer = indices!.shape.length - 1;
  const rest = x!.shape.slice(depth);
  const shape = [...indices!.shape.slice(0, -1), ...rest];
  const numbers =
    `#stablehlo.gather<offset_dims = ${list(from(outer, rest.length))}, collapsed_slice_dims = ` +
    `${list(from(0, depth))}, start_index_map = ${list(from(0, depth))}, index_vector_dim = ${outer}>`;
  const sizes = x!.shape.map((size, axis) => (axis < depth ? 1 : size));
  const rows = b.call(
    'stablehlo.gather',
    [x!, indices!],
    x!.type,
    shape,
    `dimension_numbers = ${numbers}, slice_sizes = ${i64s(sizes)}, indices_are_sorted = false`,
  );
  if (depth === 0) return rows;
  const limits = b.broadcast(b.constant('int32', [depth], x!.shape.slice(0, depth)), indices!.shape);
  return fillOutside(b, rows, b.reduce('and', within(b, indices!, limits), [outer], 1), from(0, outer));
};

/** Returns the region that combines an element with its update: by addition, or by replacement. */
function region(b: ModuleBuilder, type: StorageDtype, op: 'add' | 'replace'): string {
  if (op !== 'replace') return b.combiner(type === 'bool' ? 'or' : op, type);
  const n = b.fresh();
  const scalar = tensorType(type, []);
  return `{ ^bb0(%a${n}: ${scalar}, %b${n}: ${scalar}): "stablehlo.return"(%b${n}) : (${scalar}) -> () }`;
}

/**
 * Adds a scatter of updates into `x`. The last axis of `indices` contains the leading coordinates. Updates outside of
 * `x` are skipped.
 */
function scatter(b: ModuleBuilder, x: Hlo, indices: Hlo, updates: Hlo, op: 'add' | 'replace'): Hlo {
  const depth = indices.shape.at(-1) ?? 0;
  const outer = indices.shape.length - 1;
  const rest = x.shape.slice(depth);
  const allUpdates = b.broadcast(updates, [...indices.shape.slice(0, -1), ...rest]);
  const numbers =
    `#stablehlo.scatter<update_window_dims = ${list(from(outer, rest.length))}, inserted_window_dims = ` +
    `${list(from(0, depth))}, scatter_dims_to_operand_dims = ${list(from(0, depth))}, index_vector_dim = ` +
    `${outer}>`;
  return b.call(
    'stablehlo.scatter',
    [x, indices, allUpdates],
    x.type,
    x.shape,
    `scatter_dimension_numbers = ${numbers}, indices_are_sorted = false, unique_indices = false`,
    region(b, x.type, op),
  );
}

const oneHot: OpLowering = (b, [indices, depthOf, on, off]) => {
  const [depth = 0] = b.numbers(depthOf!);
  const shape = [...indices!.shape, depth];
  const hit = b.compare(
    'EQ',
    b.broadcastAlong(
      indices!,
      shape,
      indices!.shape.map((_, axis) => axis),
    ),
    b.iota(shape, shape.length - 1),
  );
  return b.select(hit, b.broadcast(on!, shape), b.broadcast(off!, shape));
};

const unsortedSegmentSum: OpLowering = (b, [x, ids, countOf]) => {
  const [count = 0] = b.numbers(countOf!);
  const rest = x!.shape.slice(ids!.shape.length);
  const size = sizeOfShape(ids!.shape);
  return scatter(
    b,
    b.splat(x!.type, [count, ...rest], 0),
    b.reshape(ids!, [size, 1]),
    b.reshape(x!, [size, ...rest]),
    'add',
  );
};

const bincount: OpLowering = (b, [x, sizeOfResult, weights]) => {
  const [count = 0] = b.numbers(sizeOfResult!);
  const size = sizeOfShape(x!.shape);
  const updates = sizeOfShape(weights!.shape) === 0 ? b.splat(weights!.type, [size], 1) : b.reshape(weights!, [size]);
  return scatter(b, b.splat(updates.type, [count], 0), b.reshape(x!, [size, 1]), updates, 'add');
};

/** Lowers a search in sorted rows: counts the numbers that are less than each value, or not greater. */
const bound =
  (direction: 'LT' | 'LE'): OpLowering =>
  (b, [sorted, values]) => {
    const [rows = 1, columns = 1] = sorted!.shape;
    const queries = values!.shape.at(-1) ?? 1;
    const shape = [rows, columns, queries];
    const below = b.compare(
      direction,
      b.broadcastAlong(sorted!, shape, [0, 1]),
      b.broadcastAlong(values!, shape, [0, 2]),
    );
    return b.reduce('add', b.convert(below, 'int32'), [1], 0);
  };

export const indexingLowerings: Readonly<Record<string, OpLowering>> = {
  GatherV2: gather,
  GatherNd: gatherNd,
  ScatterNd: (b, [indices, updates, shape]) =>
    scatter(b, b.splat(updates!.type, b.numbers(shape!), 0), indices!, updates!, 'add'),
  TensorScatterUpdate: (b, [x, indices, updates]) => scatter(b, x!, indices!, updates!, 'replace'),
  ScatterNdNonAliasingAdd: (b, [x, indices, updates]) => scatter(b, x!, indices!, updates!, 'add'),
  InplaceAdd: (b, [x, rows, updates]) => scatter(b, x!, b.reshape(rows!, [...rows!.shape, 1]), updates!, 'add'),
  InplaceUpdate: (b, [x, rows, updates]) => scatter(b, x!, b.reshape(rows!, [...rows!.shape, 1]), updates!, 'replace'),
  UnsortedSegmentSum: unsortedSegmentSum,
  OneHot: oneHot,
  Fill: (b, [shape, value]) => b.broadcast(value!, b.numbers(shape!)),
  Range: (b, [start, limit, delta]) => {
    const [[first = 0], [end = 0], [by = 1]] = [b.numbers(start!), b.numbers(limit!), b.numbers(delta!)];
    const count = Math.max(0, Math.ceil((end - first) / by));
    const indices = b.convert(b.iota([count], 0), start!.type);
    return first === 0 && by === 1
      ? indices
      : b.binary(
          'add',
          b.binary('multiply', indices, b.splat(start!.type, [count], by)),
          b.splat(start!.type, [count], first),
        );
  },
  Size: (b, [x]) => b.constant('int32', [], [sizeOfShape(x!.shape)]),
  LowerBound: bound('LT'),
  UpperBound: bound('LE'),
  Bincount: bincount,
};
