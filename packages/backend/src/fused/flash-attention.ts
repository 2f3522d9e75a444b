import { WhetstoneError } from '@whetstone/core/contract';
import type { Hlo, ModuleBuilder } from '../engines/xla/stablehlo/builder.js';
import type { Kernel } from '../kernels/kernel.js';
import type { StorageDtype, TensorSpec } from '../recorder/types.js';

// Flash attention through cuDNN: a custom call with the layout [rows, tokens, heads, features], operands and results in
// bfloat16. Names, operands and configuration are those to which JAX 0.10 lowers `dot_product_attention`;
// `test/golden/cudnn` holds some of its modules.

/** Dimension numbers of a batched product: contracted and batch axes of the left and the right operand. */
interface ProductDimensions {
  readonly name: string;
  readonly contracted: readonly [number, number];
  readonly batch: readonly [readonly number[], readonly number[]];
}

/** Operands are [rows, tokens, heads, features], scores [rows, heads, queries, keys]. */
const forwardProducts: readonly ProductDimensions[] = [
  {
    name: 'bmm1',
    contracted: [3, 3],
    batch: [
      [0, 2],
      [0, 2],
    ],
  },
  {
    name: 'bmm2',
    contracted: [3, 1],
    batch: [
      [0, 1],
      [0, 2],
    ],
  },
];

const backwardProducts: readonly ProductDimensions[] = [
  {
    name: 'bmm1_grad_gemm1',
    contracted: [2, 1],
    batch: [
      [0, 1],
      [0, 2],
    ],
  },
  {
    name: 'bmm1_grad_gemm2',
    contracted: [3, 1],
    batch: [
      [0, 1],
      [0, 2],
    ],
  },
  {
    name: 'bmm2_grad_gemm1',
    contracted: [2, 1],
    batch: [
      [0, 1],
      [0, 2],
    ],
  },
  {
    name: 'bmm2_grad_gemm2',
    contracted: [3, 3],
    batch: [
      [0, 2],
      [0, 2],
    ],
  },
];

/** Returns XLA's `CudnnfMHABackendConfig` as JSON. 64-bit integers are strings, as in protocol buffers' JSON. */
function backendConfig(
  query: Hlo,
  key: Hlo,
  products: readonly ProductDimensions[],
  segments: number,
  window: number,
): string {
  const [rows = 1, queries = 1, heads = 1] = query.shape;
  const texts = (values: readonly number[]): string[] => values.map(String);
  const dimensionNumbers = products.map(({ name, contracted: [left, right], batch: [leftBatch, rightBatch] }) => [
    `${name}_dot_dimension_numbers`,
    {
      lhs_contracting_dimensions: texts([left]),
      rhs_contracting_dimensions: texts([right]),
      lhs_batch_dimensions: texts(leftBatch),
      rhs_batch_dimensions: texts(rightBatch),
    },
  ]);
  return JSON.stringify({
    operation_queue_id: '0',
    cudnn_fmha_backend_config: {
      algorithm: {
        algo_id: '0',
        math_type: 'TENSOR_OP_MATH',
        tuning_knobs: { 17: '1', 24: '0' },
        is_cudnn_frontend: true,
        workspace_size: '0',
      },
      // The query already carries the scale.
      fmha_scale: 1,
      intermediate_tensor_shape: {
        element_type: 'BF16',
        dimensions: texts([rows, heads, queries, key.shape[1] ?? 1]),
        tuple_shapes: [],
        layout: {
          dim_level_types: [],
          dim_unique: [],
          dim_ordered: [],
          minor_to_major: texts([3, 2, 1, 0]),
          tiles: [],
          element_size_in_bits: '0',
          memory_space: '0',
          index_primitive_type: 'PRIMITIVE_TYPE_INVALID',
          pointer_primitive_type: 'PRIMITIVE_TYPE_INVALID',
          dynamic_shape_metadata_prefix_bytes: '0',
        },
        is_dynamic_dimension: [false, false, false, false],
      },
      is_flash_attention: true,
      mask_type: segments === 1 ? 'CAUSAL' : 'PADDING_CAUSAL',
      ...(Object.fromEntries(dimensionNumbers) as Readonly<Record<string, unknown>>),
      dropout_rate: 0,
      seed: 42,
      sliding_window_length: window,
      max_seg_per_batch: segments,
      is_paged_attention: false,
    },
  });
}

interface Result {
  readonly type: StorageDtype;
  readonly shape: readonly number[];
  /** Axes from the contiguous one to the outermost one. */
  readonly minorToMajor: readonly number[];
}

const rowMajor = (shape: readonly number[]): number[] => shape.map((_, axis) => shape.length - 1 - axis);

/** Returns one layout as MLIR. A single axis has no brackets. */
const layout = (axes: readonly number[]): string => {
  const values = axes.length === 1 ? axes[0] : `[${axes.join(', ')}]`;
  return `dense<${values}> : tensor<${axes.length}xindex>`;
};

const layouts = (list: readonly (readonly number[])[]): string => `[${list.map(layout).join(', ')}]`;

/** Emits the custom call. Its last result is the workspace, whose size the compiler sets. */
function callCudnn(
  b: ModuleBuilder,
  target: string,
  operands: readonly Hlo[],
  results: readonly Result[],
  config: string,
): Hlo[] {
  const all: readonly Result[] = [...results, { type: 'uint8', shape: [0], minorToMajor: [0] }];
  const attributes = [
    'api_version = 2 : i32',
    `backend_config = ${JSON.stringify(config)}`,
    `call_target_name = "${target}"`,
    'has_side_effect = false',
    `operand_layouts = ${layouts(operands.map(({ shape }) => rowMajor(shape)))}`,
    `result_layouts = ${layouts(all.map(({ minorToMajor }) => minorToMajor))}`,
  ];
  return b.calls('stablehlo.custom_call', operands, all, attributes.join(', ')).slice(0, -1);
}

/** A cuDNN result for a tensor [rows, tokens, heads, features]: heads come first in the shape, tokens in memory. */
const headsFirst = ({ shape: [rows = 1, tokens = 1, heads = 1, features = 1] }: Hlo): Result => ({
  type: 'bfloat16',
  shape: [rows, heads, tokens, features],
  minorToMajor: [3, 1, 2, 0],
});

const tokensFirst = (b: ModuleBuilder, x: Hlo): Hlo => b.convert(b.transpose(x, [0, 2, 1, 3]), 'float32');

/** Returns cuDNN's operands for packed rows: lengths of queries and of keys, then both offsets. */
const packingOperands = ([lengths, queryOffsets, keyOffsets]: readonly Hlo[]): readonly Hlo[] =>
  lengths === undefined ? [] : [lengths, lengths, queryOffsets as Hlo, keyOffsets as Hlo];

/** Returns the number of packed samples per row. */
const segmentCount = ([lengths]: readonly Hlo[]): number => lengths?.shape[1] ?? 1;

/**
 * Lowers attention. Inputs are query, key, value and, for packed rows, lengths, queryOffsets and keyOffsets. Results
 * are the attention's result and its softmax statistics.
 */
export function lowerFlashAttention(b: ModuleBuilder, inputs: readonly Hlo[], window: number): readonly Hlo[] {
  const [query, key, value] = inputs.slice(0, 3).map((x) => b.convert(x, 'bfloat16')) as [Hlo, Hlo, Hlo];
  const packing = inputs.slice(3);
  const segments = segmentCount(packing);
  const [rows = 1, length = 1, heads = 1] = query.shape;
  const statistics: Result = { type: 'float32', shape: [rows * segments, heads, length], minorToMajor: [2, 1, 0] };
  const config = backendConfig(query, key, forwardProducts, segments, window);
  const [result, kept] = callCudnn(
    b,
    '__cudnn$fmhaSoftmax',
    [query, key, value, ...packingOperands(packing)],
    [headsFirst(query), statistics],
    config,
  ) as [Hlo, Hlo];
  return [tokensFirst(b, result), kept];
}

/**
 * Lowers the gradient of attention. Inputs are gradient, query, key, value, result, statistics and, for packed rows,
 * lengths, queryOffsets and keyOffsets. Results are the gradients of query, key and value.
 */
export function lowerFlashAttentionGradient(b: ModuleBuilder, inputs: readonly Hlo[], window: number): readonly Hlo[] {
  const [gradient, query, key, value, result] = inputs.slice(0, 5).map((x) => b.convert(x, 'bfloat16')) as [
    Hlo,
    Hlo,
    Hlo,
    Hlo,
    Hlo,
  ];
  const packing = inputs.slice(6);
  const config = backendConfig(query, key, backwardProducts, segmentCount(packing), window);
  const operands = [query, key, value, inputs[5] as Hlo, gradient, result, ...packingOperands(packing)];
  return callCudnn(
    b,
    '__cudnn$fmhaSoftmaxBackward',
    operands,
    [headsFirst(query), headsFirst(key), headsFirst(value)],
    config,
  ).map((x) => tokensFirst(b, x));
}

/** Unreachable: only an engine that reports `flashAttention` gets these kernels. */
function requireCuda(): never {
  throw new WhetstoneError('INTERNAL', 'Flash attention is not available on this device.', {
    expected: 'a CUDA device with the engine xla',
  });
}

const packingInputs = ['lengths', 'queryOffsets', 'keyOffsets'] as const;

/** `flashAttention` of `@whetstone/core/ops`, through cuDNN. */
const flashAttention: Kernel = {
  name: 'WhetstoneFlashAttention',
  inputs: ['query', 'key', 'value', ...packingInputs],
  returnsList: true,
  eager: false,
  rule: ([query, , , lengths], { window }) => {
    const { shape } = query as TensorSpec;
    const [rows = 1, length = 1, heads = 1] = shape;
    const statistics = { shape: [rows * (lengths?.shape[1] ?? 1), heads, length], dtype: 'float32' as const };
    return { outputs: [{ shape, dtype: 'float32' }, statistics], parameters: [window as number] };
  },
  tensorflow: requireCuda,
  stablehlo: (b, inputs, _host, [window]) => lowerFlashAttention(b, inputs, window as number),
};

const flashAttentionGradient: Kernel = {
  name: 'WhetstoneFlashAttentionGrad',
  inputs: ['gradient', 'query', 'key', 'value', 'result', 'statistics', ...packingInputs],
  returnsList: true,
  eager: false,
  rule: ([, query, key, value], { window }) => ({
    outputs: [query as TensorSpec, key as TensorSpec, value as TensorSpec].map(({ shape }) => ({
      shape,
      dtype: 'float32' as const,
    })),
    parameters: [window as number],
  }),
  tensorflow: requireCuda,
  stablehlo: (b, inputs, _host, [window]) => lowerFlashAttentionGradient(b, inputs, window as number),
};

export const flashAttentionKernels: readonly Kernel[] = [flashAttention, flashAttentionGradient];
