import { backend_util, gather_util, upcastType, util, type Tensor } from '@tensorflow/tfjs-core';
import { sizeOfShape } from '@whetstone/core/util';
import { type StorageDtype, type TensorSpec } from '../recorder/types.js';
import { boolToInt, cast } from './elementwise.js';
import { scalar, vector, type Kernel } from './kernel.js';
import { int, type } from './emitter.js';

const gather: Kernel = {
  name: 'GatherV2',
  inputs: ['x', 'indices'],
  gathersRows: true,
  rule: ([x, indices], { axis, batchDims }) => {
    const { shape, dtype } = x as TensorSpec;
    const picked = (indices as TensorSpec).shape;
    const [chosen = 0] = util.parseAxisParam(axis as number, shape as number[]);
    const batch = (batchDims as number | undefined) ?? 0;
    const dimensions = batch < 0 ? batch + picked.length : batch;
    // Throws if the batch dimensions are invalid.
    backend_util.segment_util.collectGatherOpShapeInfo(
      x as unknown as Tensor,
      { shape: picked, rank: picked.length } as unknown as Tensor,
      chosen,
      dimensions,
    );
    return {
      outputs: [{ shape: [...shape.slice(0, chosen), ...picked.slice(dimensions), ...shape.slice(chosen + 1)], dtype }],
      parameters: [chosen, dimensions],
    };
  },
  tensorflow: (emit, [x, indices], _, [axis, batch]) =>
    emit.op('GatherV2', [x!, cast(emit, indices!, 'int32'), emit.constant('int32', [], [axis as number])], {
      batch_dims: int(batch as number),
    }),
};

const gatherNd: Kernel = {
  name: 'GatherNd',
  inputs: ['params', 'indices'],
  rule: ([params, indices]) => {
    const [shape] = gather_util.prepareAndValidate(params as never, indices as never);
    return { outputs: [{ shape, dtype: (params as TensorSpec).dtype }] };
  },
  tensorflow: (emit, [params, indices]) => emit.op('GatherNd', [params!, cast(emit, indices!, 'int32')]),
};

const scatterNd: Kernel = {
  name: 'ScatterNd',
  inputs: ['indices', 'updates'],
  rule: ([indices, updates], { shape }) => ({
    outputs: [{ shape: shape as number[], dtype: (updates as TensorSpec).dtype }],
    // TensorFlow rejects updates of an empty result.
    parameters: [sizeOfShape(shape as number[]) === 0],
    host: [vector(shape as number[])],
    // Indices of rank 1 select rows.
    inputShapes: [(indices as TensorSpec).shape.length === 1 ? [...(indices as TensorSpec).shape, 1] : null, null],
  }),
  tensorflow: (emit, [indices, updates], [shape], [isEmpty]) =>
    isEmpty === true
      ? emit.op('Fill', [shape!, emit.constant(emit.typeOf(updates!), [], [0])])
      : emit.op('ScatterNd', [cast(emit, indices!, 'int32'), updates!, shape!]),
};

const tensorScatterUpdate: Kernel = {
  name: 'TensorScatterUpdate',
  inputs: ['tensor', 'indices', 'updates'],
  rule: ([tensor]) => ({
    outputs: [tensor as TensorSpec],
    parameters: [sizeOfShape((tensor as TensorSpec).shape) === 0],
  }),
  tensorflow: (emit, [tensor, indices, updates], _, [isEmpty]) =>
    isEmpty === true
      ? emit.op('Identity', [tensor!])
      : emit.op('TensorScatterUpdate', [tensor!, cast(emit, indices!, 'int32'), updates!]),
};

const unsortedSegmentSum: Kernel = {
  name: 'UnsortedSegmentSum',
  inputs: ['x', 'segmentIds'],
  rule: ([x, ids], { numSegments }) => {
    const { shape, dtype } = x as TensorSpec;
    return {
      outputs: [
        {
          shape: [numSegments as number, ...shape.slice((ids as TensorSpec).shape.length)],
          dtype: dtype === 'bool' ? 'int32' : dtype,
        },
      ],
      host: [scalar(numSegments as number, 'int32')],
    };
  },
  tensorflow: (emit, [x, ids], [count]) =>
    emit.op('UnsortedSegmentSum', [boolToInt(emit, x!), cast(emit, ids!, 'int32'), count!]),
};

const oneHot: Kernel = {
  name: 'OneHot',
  inputs: ['indices'],
  rule: ([indices], { depth, onValue, offValue, dtype }) => {
    const kind = ((dtype as string | undefined) ?? 'int32') as 'int32';
    return {
      outputs: [{ shape: [...(indices as TensorSpec).shape, depth as number], dtype: kind }],
      host: [scalar(depth as number, 'int32'), scalar(onValue as number, kind), scalar(offValue as number, kind)],
    };
  },
  tensorflow: (emit, [indices], [depth, on, off]) =>
    emit.op('OneHot', [cast(emit, indices!, 'int32'), depth!, on!, off!]),
};

/** A filled tensor. A scalar is a constant of the graph's structure, as `constant` of `@whetstone/core/ops` expects. */
const fill: Kernel = {
  name: 'Fill',
  inputs: [],
  rule: (_, { shape, value, dtype }) => {
    const kind = (dtype as 'float32' | undefined) ?? 'float32';
    const number = Number(value);
    const outputs = [{ shape: shape as number[], dtype: kind }];
    if ((shape as number[]).length === 0 && !Object.is(number, -0))
      return { outputs, parameters: ['constant', kind, number] };
    return { outputs, parameters: ['fill'], host: [vector(shape as number[]), scalar(number, kind)] };
  },
  tensorflow: (emit, _, [shape, value], [form, kind, number]) =>
    form === 'constant'
      ? emit.constant(kind as StorageDtype, [], [number as number])
      : emit.op('Fill', [shape!, value!]),
};

/** Positions at which values would be inserted into sorted rows. */
function searchSorted(): Kernel {
  return {
    name: 'SearchSorted',
    inputs: ['sortedSequence', 'values'],
    rule: ([sorted, values], { side }) => {
      const compared = upcastType((sorted as TensorSpec).dtype, (values as TensorSpec).dtype);
      return {
        outputs: [{ shape: (values as TensorSpec).shape, dtype: 'int32' }],
        parameters: [side === 'left', compared === 'bool' ? 'int32' : compared],
      };
    },
    tensorflow: (emit, operands, _, [left, compared]) =>
      emit.op(
        left === true ? 'LowerBound' : 'UpperBound',
        operands.map((operand) => cast(emit, operand, compared as StorageDtype)),
        { out_type: type('int32') },
      ),
  };
}

const bincountTypes = (weights: TensorSpec): StorageDtype => (weights.dtype === 'float32' ? 'float32' : 'int32');

/** Counts of small integers, weighted. */
const bincount: Kernel = {
  name: 'Bincount',
  inputs: ['x', 'weights'],
  rule: ([, weights], { size }) => ({
    outputs: [{ shape: [size as number], dtype: bincountTypes(weights as TensorSpec) as 'int32' }],
    parameters: [sizeOfShape((weights as TensorSpec).shape) === 0],
    host: [scalar(size as number, 'int32')],
  }),
  tensorflow: (emit, [x, weights], [size]) =>
    emit.op('Bincount', [cast(emit, x!, 'int32'), size!, boolToInt(emit, weights!)]),
};

export const indexing: readonly Kernel[] = [
  gather,
  gatherNd,
  scatterNd,
  tensorScatterUpdate,
  unsortedSegmentSum,
  oneHot,
  fill,
  searchSorted(),
  bincount,
];
