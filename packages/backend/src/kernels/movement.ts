import { backend_util, slice_util, util, type TensorInfo } from '@tensorflow/tfjs-core';
import { sizeOfShape } from '@whetstone/core/util';
import { type StorageDtype, type TensorSpec } from '../recorder/types.js';
import { boolToInt, cast } from './elementwise.js';
import { type Emitter, int, text } from './emitter.js';
import { scalar, vector, type Kernel, type Parameters } from './kernel.js';

const flatPairs = (pairs: readonly (readonly number[])[]): number[] => pairs.flatMap((pair) => [...pair]);

/** Reshape for the recorder's own views. tfjs-core's Reshape shares the data and records nothing. */
export const reshape: Kernel = {
  name: 'Reshape',
  inputs: ['x'],
  rule: () => {
    throw new Error('The recorder records Reshape without a rule.');
  },
  tensorflow: (emit, [x], [shape]) => emit.op('Reshape', [x!, shape!]),
};

const transpose: Kernel = {
  name: 'Transpose',
  inputs: ['x'],
  rule: ([x], { perm }) => {
    const { shape, dtype } = x as TensorSpec;
    const order = perm as readonly number[];
    return { outputs: [{ shape: order.map((axis) => shape[axis] ?? 1), dtype }], parameters: order };
  },
  tensorflow: (emit, [x], _, order) =>
    emit.op('Transpose', [x!, emit.constant('int32', [order.length], order as number[])]),
};

const slice: Kernel = {
  name: 'Slice',
  inputs: ['x'],
  rule: ([x], { begin, size }) => {
    const { shape, dtype } = x as TensorSpec;
    const tensor = { shape, rank: shape.length } as unknown as TensorInfo;
    const [start = [], extent = []] = slice_util.parseSliceParams(tensor, begin as number[], size as number[]);
    slice_util.assertParamsValid(tensor, start, extent);
    return { outputs: [{ shape: extent, dtype }], host: [vector(start), vector(extent)] };
  },
  tensorflow: (emit, [x], [begin, size]) => emit.op('Slice', [x!, begin!, size!]),
};

const stridedSlice: Kernel = {
  name: 'StridedSlice',
  inputs: ['x'],
  rule: ([x], attributes) => {
    const { shape, dtype } = x as TensorSpec;
    const { begin, end, strides } = attributes as Record<'begin' | 'end' | 'strides', number[]>;
    const { beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask } = attributes as Record<string, number>;
    const { finalShape } = slice_util.sliceInfo(
      shape as number[],
      begin,
      end,
      strides,
      beginMask ?? 0,
      endMask ?? 0,
      ellipsisMask ?? 0,
      newAxisMask ?? 0,
      shrinkAxisMask ?? 0,
    );
    return {
      outputs: [{ shape: finalShape, dtype }],
      parameters: [beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask].map((mask) => mask ?? 0),
      host: [vector(begin), vector(end), vector(strides)],
    };
  },
  tensorflow: (emit, [x], host, [beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask]) =>
    emit.op('StridedSlice', [x!, ...host], {
      begin_mask: int(beginMask as number),
      end_mask: int(endMask as number),
      ellipsis_mask: int(ellipsisMask as number),
      new_axis_mask: int(newAxisMask as number),
      shrink_axis_mask: int(shrinkAxisMask as number),
    }),
};

const concat: Kernel = {
  name: 'Concat',
  inputs: 'list',
  rule: (inputs, { axis }) => {
    const { shape, dtype } = inputs[0] as TensorSpec;
    const [chosen = 0] = util.parseAxisParam(axis as number, shape as number[]);
    backend_util.assertParamsConsistent(
      inputs.map((input) => input.shape as number[]),
      chosen,
    );
    return {
      outputs: [
        {
          shape: backend_util.computeOutShape(
            inputs.map((input) => input.shape as number[]),
            chosen,
          ),
          dtype,
        },
      ],
      parameters: [chosen],
    };
  },
  tensorflow: (emit, inputs, _, [axis]) => {
    const [first] = inputs;
    // tfjs-core allows different dtypes; the result has the first one.
    const sameDtype = inputs.map((input) => cast(emit, input, emit.typeOf(first!)));
    return inputs.length === 1
      ? emit.op('Identity', [first!])
      : emit.op('ConcatV2', [sameDtype, emit.constant('int32', [], [axis as number])]);
  },
};

const splitV: Kernel = {
  name: 'SplitV',
  inputs: ['x'],
  returnsList: true,
  rule: ([x], { numOrSizeSplits, axis }) => {
    const { shape, dtype } = x as TensorSpec;
    const [chosen = 0] = util.parseAxisParam(axis as number, shape as number[]);
    const sizes = backend_util.prepareSplitSize({ shape } as never, numOrSizeSplits as number[], chosen);
    return {
      outputs: sizes.map((size) => ({
        shape: shape.map((length, position) => (position === chosen ? size : length)),
        dtype,
      })),
      parameters: [chosen, sizes.length],
      host: [vector(sizes)],
    };
  },
  tensorflow: (emit, [x], [sizes], [axis, count]) =>
    emit.ops(
      'SplitV',
      [x!, sizes!, emit.constant('int32', [], [axis as number])],
      { num_split: int(count as number) },
      count as number,
    ),
};

const pack: Kernel = {
  name: 'Pack',
  inputs: 'list',
  rule: (inputs, { axis }) => {
    const { shape, dtype } = inputs[0] as TensorSpec;
    const chosen = (axis as number) < 0 ? (axis as number) + shape.length + 1 : (axis as number);
    for (const input of inputs) {
      util.assertShapesMatch(
        shape as number[],
        input.shape as number[],
        'All tensors passed to stack must have matching shapes',
      );
      util.assert(input.dtype === dtype, () => 'All tensors passed to stack must have matching dtypes');
    }
    return {
      outputs: [{ shape: [...shape.slice(0, chosen), inputs.length, ...shape.slice(chosen)], dtype }],
      parameters: [chosen],
    };
  },
  tensorflow: (emit, inputs, _, [axis]) => emit.op('Pack', [inputs], { axis: int(axis as number) }),
};

const unpack: Kernel = {
  name: 'Unpack',
  inputs: ['value'],
  returnsList: true,
  rule: ([x], { axis }) => {
    const { shape, dtype } = x as TensorSpec;
    const chosen = (axis as number) < 0 ? (axis as number) + shape.length : (axis as number);
    const count = shape[chosen] ?? 0;
    const rest = shape.filter((_, position) => position !== chosen);
    return { outputs: Array.from({ length: count }, () => ({ shape: rest, dtype })), parameters: [chosen, count] };
  },
  tensorflow: (emit, [x], _, [axis, count]) =>
    emit.ops('Unpack', [x!], { num: int(count as number), axis: int(axis as number) }, count as number),
};

const padV2: Kernel = {
  name: 'PadV2',
  inputs: ['x'],
  rule: ([x], { paddings, constantValue }) => {
    const { shape, dtype } = x as TensorSpec;
    const pairs = paddings as [number, number][];
    return {
      outputs: [{ shape: shape.map((size, axis) => size + (pairs[axis]?.[0] ?? 0) + (pairs[axis]?.[1] ?? 0)), dtype }],
      host: [vector(flatPairs(pairs), [pairs.length, 2]), scalar(constantValue as number, dtype as StorageDtype)],
    };
  },
  tensorflow: (emit, [x], [paddings, value]) => emit.op('PadV2', [x!, paddings!, value!]),
};

const mirrorPad: Kernel = {
  name: 'MirrorPad',
  inputs: ['x'],
  rule: ([x], { paddings, mode }) => {
    const { shape, dtype } = x as TensorSpec;
    const pairs = paddings as [number, number][];
    return {
      outputs: [{ shape: shape.map((size, axis) => size + (pairs[axis]?.[0] ?? 0) + (pairs[axis]?.[1] ?? 0)), dtype }],
      parameters: [String(mode).toUpperCase()],
      host: [vector(flatPairs(pairs), [pairs.length, 2])],
    };
  },
  tensorflow: (emit, [x], [paddings], [mode]) => emit.op('MirrorPad', [x!, paddings!], { mode: text(mode as string) }),
};

const tile: Kernel = {
  name: 'Tile',
  inputs: ['x'],
  rule: ([x], { reps }) => {
    const { shape, dtype } = x as TensorSpec;
    const times = reps as number[];
    return { outputs: [{ shape: shape.map((size, axis) => size * (times[axis] ?? 1)), dtype }], host: [vector(times)] };
  },
  tensorflow: (emit, [x], [times]) => emit.op('Tile', [x!, times!]),
};

const broadcastTo: Kernel = {
  name: 'BroadcastTo',
  inputs: ['x'],
  rule: ([x], { shape }) => ({
    outputs: [{ shape: shape as number[], dtype: (x as TensorSpec).dtype }],
    host: [vector(shape as number[])],
  }),
  tensorflow: (emit, [x], [shape]) => emit.op('BroadcastTo', [x!, shape!]),
};

const reverse: Kernel = {
  name: 'Reverse',
  inputs: ['x'],
  rule: ([x], { dims }) => ({
    outputs: [x as TensorSpec],
    parameters: util.parseAxisParam(dims as number[], (x as TensorSpec).shape as number[]),
  }),
  tensorflow: (emit, [x], _, axes) =>
    emit.op('ReverseV2', [x!, emit.constant('int32', [axes.length], axes as number[])]),
};

/** Returns block sizes and paddings as constants: TensorFlow's shape functions reject unknown ones here. */
function blockConstants<T>(emit: Emitter<T>, [axes, ...numbers]: Parameters): [T, T] {
  const count = axes as number;
  return [
    emit.constant('int32', [count], numbers.slice(0, count) as number[]),
    emit.constant('int32', [count, 2], numbers.slice(count) as number[]),
  ];
}

const spaceToBatch: Kernel = {
  name: 'SpaceToBatchND',
  inputs: ['x'],
  rule: ([x], { blockShape, paddings }) => {
    const { shape, dtype } = x as TensorSpec;
    const block = blockShape as number[];
    const pads = paddings as number[][];
    const inner = block.map(
      (size, axis) => ((shape[axis + 1] ?? 0) + (pads[axis]?.[0] ?? 0) + (pads[axis]?.[1] ?? 0)) / size,
    );
    const result = [(shape[0] ?? 1) * sizeOfShape(block), ...inner, ...shape.slice(1 + block.length)];
    return { outputs: [{ shape: result, dtype }], parameters: [block.length, ...block, ...flatPairs(pads)] };
  },
  tensorflow: (emit, [x], _, parameters) => emit.op('SpaceToBatchND', [x!, ...blockConstants(emit, parameters)]),
};

const batchToSpace: Kernel = {
  name: 'BatchToSpaceND',
  inputs: ['x'],
  rule: ([x], { blockShape, crops }) => {
    const { shape, dtype } = x as TensorSpec;
    const block = blockShape as number[];
    const cut = crops as number[][];
    const inner = block.map(
      (size, axis) => (shape[axis + 1] ?? 0) * size - (cut[axis]?.[0] ?? 0) - (cut[axis]?.[1] ?? 0),
    );
    const result = [(shape[0] ?? 1) / sizeOfShape(block), ...inner, ...shape.slice(1 + block.length)];
    return { outputs: [{ shape: result, dtype }], parameters: [block.length, ...block, ...flatPairs(cut)] };
  },
  tensorflow: (emit, [x], _, parameters) => emit.op('BatchToSpaceND', [x!, ...blockConstants(emit, parameters)]),
};

const diag: Kernel = {
  name: 'Diag',
  inputs: ['x'],
  rule: ([x]) => {
    const { shape, dtype } = x as TensorSpec;
    return { outputs: [{ shape: [...shape, ...shape], dtype }] };
  },
  tensorflow: (emit, [x]) => cast(emit, emit.op('Diag', [boolToInt(emit, x!)]), emit.typeOf(x!)),
};

export const movement: readonly Kernel[] = [
  transpose,
  slice,
  stridedSlice,
  concat,
  splitV,
  pack,
  unpack,
  padV2,
  mirrorPad,
  tile,
  broadcastTo,
  reverse,
  spaceToBatch,
  batchToSpace,
  diag,
];
