import { slice_util } from '@tensorflow/tfjs-core';
import { sizeOfShape } from '@whetstone/core/util';
import { i64s, type Hlo, type ModuleBuilder, type OpLowering } from './builder.js';
import type { Attributes } from '../../../kernels/emitter.js';

export const intOf = (attributes: Attributes, name: string): number => {
  const attribute = attributes[name];
  return attribute?.kind === 'int' ? attribute.value : 0;
};

const reverseAxes = (b: ModuleBuilder, x: Hlo, axes: readonly number[]): Hlo =>
  axes.length === 0 ? x : b.call('stablehlo.reverse', [x], x.type, x.shape, `dimensions = ${i64s(axes)}`);

/** Slices one axis. */
function sliceAxis(b: ModuleBuilder, x: Hlo, axis: number, from: number, to: number): Hlo {
  return b.slice(
    x,
    x.shape.map((_, position) => (position === axis ? from : 0)),
    x.shape.map((size, position) => (position === axis ? to : size)),
  );
}

const slice: OpLowering = (b, [x, begin, size]) => {
  const start = b.numbers(begin!);
  const extent = b.numbers(size!);
  return b.slice(
    x!,
    start,
    start.map((from, axis) => from + (extent[axis] ?? 0)),
  );
};

/** Lowers a strided slice. StableHLO has no negative strides: these axes are sliced forwards and then reversed. */
const stridedSlice: OpLowering = (b, [x, begin, end, strides], attributes) => {
  const masks = ['begin_mask', 'end_mask', 'ellipsis_mask', 'new_axis_mask', 'shrink_axis_mask'].map((name) =>
    intOf(attributes, name),
  ) as [number, number, number, number, number];
  const info = slice_util.sliceInfo(
    x!.shape as number[],
    b.numbers(begin!),
    b.numbers(end!),
    b.numbers(strides!),
    ...masks,
  );
  if (info.finalShape.some((size) => size === 0)) return b.splat(x!.type, info.finalShape, 0);
  const counts = info.begin.map((from, axis) =>
    Math.max(0, Math.ceil(((info.end[axis] ?? 0) - from) / (info.strides[axis] ?? 1))),
  );
  const backwards = info.strides.flatMap((stride, axis) => (stride < 0 ? [axis] : []));
  const last = info.begin.map((from, axis) => from + ((counts[axis] ?? 1) - 1) * (info.strides[axis] ?? 1));
  const low = info.begin.map((from, axis) => (backwards.includes(axis) ? (last[axis] ?? 0) : from));
  const high = info.begin.map((from, axis) => (backwards.includes(axis) ? from : (last[axis] ?? 0)) + 1);
  return b.reshape(reverseAxes(b, b.slice(x!, low, high, info.strides.map(Math.abs)), backwards), info.finalShape);
};

const splitV: OpLowering = (b, [x, sizes, axis]) => {
  const [chosen = 0] = b.numbers(axis!);
  let from = 0;
  return b.numbers(sizes!).map((size) => sliceAxis(b, x!, chosen, from, (from += size)));
};

const pack: OpLowering = (b, inputs, attributes) => {
  const axis = intOf(attributes, 'axis');
  return b.concatenate(
    inputs.map((input) => b.reshape(input, [...input.shape.slice(0, axis), 1, ...input.shape.slice(axis)])),
    axis,
  );
};

const unpack: OpLowering = (b, [x], attributes) => {
  const axis = intOf(attributes, 'axis');
  const shape = x!.shape.filter((_, position) => position !== axis);
  return Array.from({ length: intOf(attributes, 'num') }, (_, index) =>
    b.reshape(sliceAxis(b, x!, axis, index, index + 1), shape),
  );
};

/** Returns the padding before and after each axis, from a list of pairs. */
const margins = (b: ModuleBuilder, pairs: Hlo): { readonly low: number[]; readonly high: number[] } => {
  const flat = b.numbers(pairs);
  return { low: flat.filter((_, index) => index % 2 === 0), high: flat.filter((_, index) => index % 2 === 1) };
};

const padV2: OpLowering = (b, [x, paddings, value]) => {
  const { low, high } = margins(b, paddings!);
  return b.pad(x!, low, high, value!);
};

const mirrorPad: OpLowering = (b, [x, paddings], { mode }) => {
  const { low, high } = margins(b, paddings!);
  const skip = mode?.kind === 'string' && mode.value === 'REFLECT' ? 1 : 0;
  return low.reduce((padded: Hlo, before, axis) => {
    const size = padded.shape[axis] ?? 0;
    const after = high[axis] ?? 0;
    const inputs = [padded];
    if (before > 0) inputs.unshift(reverseAxes(b, sliceAxis(b, padded, axis, skip, skip + before), [axis]));
    if (after > 0) inputs.push(reverseAxes(b, sliceAxis(b, padded, axis, size - skip - after, size - skip), [axis]));
    return b.concatenate(inputs, axis);
  }, x!);
};

/** Lowers repetition: broadcasts along a new axis before each axis, and merges both by a reshape. */
const tile: OpLowering = (b, [x, repeats]) => {
  const times = b.numbers(repeats!);
  if (times.every((count) => count === 1)) return x!;
  const wide = x!.shape.flatMap((size, axis) => [times[axis] ?? 1, size]);
  return b.reshape(
    b.broadcastAlong(
      x!,
      wide,
      x!.shape.map((_, axis) => 2 * axis + 1),
    ),
    x!.shape.map((size, axis) => size * (times[axis] ?? 1)),
  );
};

const spaceToBatch: OpLowering = (b, [x, blocks, paddings]) => {
  const block = b.numbers(blocks!);
  const { low, high } = margins(b, paddings!);
  const rest = x!.shape.slice(1 + block.length);
  const none = rest.map(() => 0);
  const padded = b.pad(x!, [0, ...low, ...none], [0, ...high, ...none], b.splat(x!.type, [], 0));
  const [batch = 1, ...lengths] = padded.shape;
  const inner = block.map((size, axis) => (lengths[axis] ?? 0) / size);
  const cut = b.reshape(padded, [batch, ...block.flatMap((size, axis) => [inner[axis] ?? 0, size]), ...rest]);
  const count = block.length;
  const order = [
    ...block.map((_, axis) => 2 + 2 * axis),
    0,
    ...block.map((_, axis) => 1 + 2 * axis),
    ...rest.map((_, axis) => 1 + 2 * count + axis),
  ];
  return b.reshape(b.transpose(cut, order), [batch * sizeOfShape(block), ...inner, ...rest]);
};

const batchToSpace: OpLowering = (b, [x, blocks, crops]) => {
  const block = b.numbers(blocks!);
  const { low, high } = margins(b, crops!);
  const count = block.length;
  const [batch = 1, ...lengths] = x!.shape;
  const inner = lengths.slice(0, count);
  const rest = lengths.slice(count);
  const outer = batch / sizeOfShape(block);
  const cut = b.reshape(x!, [...block, outer, ...inner, ...rest]);
  const order = [
    count,
    ...block.flatMap((_, axis) => [count + 1 + axis, axis]),
    ...rest.map((_, axis) => 2 * count + 1 + axis),
  ];
  const wide = b.reshape(b.transpose(cut, order), [
    outer,
    ...inner.map((size, axis) => size * (block[axis] ?? 1)),
    ...rest,
  ]);
  const begin = [0, ...low, ...rest.map(() => 0)];
  const end = wide.shape.map((size, axis) => size - (axis === 0 || axis > count ? 0 : (high[axis - 1] ?? 0)));
  return b.slice(wide, begin, end);
};

const diag: OpLowering = (b, [x]) => {
  const size = sizeOfShape(x!.shape);
  const flat = b.reshape(x!, [size]);
  const same = b.compare('EQ', b.iota([size, size], 0), b.iota([size, size], 1));
  return b.reshape(b.select(same, b.broadcastAlong(flat, [size, size], [0]), b.splat(x!.type, [size, size], 0)), [
    ...x!.shape,
    ...x!.shape,
  ]);
};

export const movementLowerings: Readonly<Record<string, OpLowering>> = {
  Reshape: (b, [x, shape]) => {
    const target = b.numbers(shape!);
    const known = target.reduce((product, size) => (size < 0 ? product : product * size), 1);
    return b.reshape(
      x!,
      target.map((size) => (size < 0 ? sizeOfShape(x!.shape) / known : size)),
    );
  },
  Transpose: (b, [x, order]) => b.transpose(x!, b.numbers(order!)),
  Slice: slice,
  StridedSlice: stridedSlice,
  ConcatV2: (b, inputs) => {
    const [axis = 0] = b.numbers(inputs.at(-1) as Hlo);
    const operands = inputs.slice(0, -1);
    return b.concatenate(operands, axis < 0 ? axis + (operands[0]?.shape.length ?? 0) : axis);
  },
  SplitV: splitV,
  Pack: pack,
  Unpack: unpack,
  PadV2: padV2,
  MirrorPad: mirrorPad,
  Tile: tile,
  BroadcastTo: (b, [x, shape]) => b.broadcast(x!, b.numbers(shape!)),
  ReverseV2: (b, [x, axes]) => reverseAxes(b, x!, b.numbers(axes!)),
  SpaceToBatchND: spaceToBatch,
  BatchToSpaceND: batchToSpace,
  Diag: diag,
};
