import { backend_util, broadcast_util, upcastType } from '@tensorflow/tfjs-core';
import { WhetstoneError } from '@whetstone/core/contract';
import { sizeOfShape } from '@whetstone/core/util';
import { type StorageDtype, type TensorSpec } from '../recorder/types.js';
import { cast } from './elementwise.js';
import { type Emitter, float, flag, text } from './emitter.js';
import type { Kernel, Parameters, Recording } from './kernel.js';

interface Product extends Recording {
  readonly parameters: Parameters;
}

/**
 * Returns the recording of a matrix product. If the right operand is one matrix, it is one 2-D product over the
 * flattened rows of the left operand: TensorFlow's MatMul is faster than a batch of one.
 *
 * @throws `BACKEND_FAILED` if the inner lengths differ
 */
function productRecording(a: TensorSpec, b: TensorSpec, transposeA: boolean, transposeB: boolean): Product {
  const rankA = a.shape.length;
  const rankB = b.shape.length;
  const rows = a.shape[transposeA ? rankA - 1 : rankA - 2] ?? 1;
  const innerA = a.shape[transposeA ? rankA - 2 : rankA - 1] ?? 1;
  const innerB = b.shape[transposeB ? rankB - 1 : rankB - 2] ?? 1;
  const columns = b.shape[transposeB ? rankB - 2 : rankB - 1] ?? 1;
  if (innerA !== innerB) {
    throw new WhetstoneError(
      'BACKEND_FAILED',
      `Error in matMul: inner shapes (${innerA}) and (${innerB}) of Tensors with shapes ${a.shape.join()} and ` +
        `${b.shape.join()} and transposeA=${transposeA} and transposeB=${transposeB} must match.`,
    );
  }
  const batch = broadcast_util.assertAndGetBroadcastShape(
    a.shape.slice(0, -2) as number[],
    b.shape.slice(0, -2) as number[],
  );
  const shape = [...batch, rows, columns];
  const dtype = upcastType(a.dtype, b.dtype);
  const oneA = sizeOfShape(a.shape.slice(0, -2)) === 1;
  const oneB = sizeOfShape(b.shape.slice(0, -2)) === 1;
  const flatA = a.shape.slice(-2);
  const flatB = b.shape.slice(-2);
  // An outer product adds nothing up: it costs no more than writing it, and stays exact under every policy.
  const isOuter = innerA === 1;
  if (oneB && (oneA || !transposeA)) {
    const flatRows = oneA ? rows : sizeOfShape(a.shape.slice(0, -1));
    return {
      outputs: [{ shape: [flatRows, columns], dtype }],
      outputShapes: [shape],
      inputShapes: [oneA ? flatA : [flatRows, innerA], flatB],
      parameters: [isOuter ? 'outer' : '2d', transposeA, transposeB, dtype],
    };
  }
  return {
    outputs: [{ shape, dtype }],
    outputShapes: [shape],
    inputShapes: [null, null],
    parameters: ['batch', transposeA, transposeB, dtype],
  };
}

/** Emits the product that {@link productRecording} recorded. */
export function emitProduct<T>(rounding: Emitter<T>, a: T, b: T, [form, transposeA, transposeB, dtype]: Parameters): T {
  const resultDtype = dtype as StorageDtype;
  const kind = resultDtype === 'float32' ? resultDtype : 'int32';
  const emit = form === 'outer' ? (rounding.exact ?? rounding) : rounding;
  // Weights are passed in bfloat16 if the policy asks for it.
  const rounds = [a, b].some((x) => emit.typeOf(x) === 'bfloat16');
  const operands = [a, b].map((x) => cast(emit, x, rounds ? 'bfloat16' : kind));
  const product =
    form === '2d' || form === 'outer'
      ? emit.op('MatMul', operands, {
          transpose_a: flag(transposeA as boolean),
          transpose_b: flag(transposeB as boolean),
        })
      : emit.op('BatchMatMulV2', operands, { adj_x: flag(transposeA as boolean), adj_y: flag(transposeB as boolean) });
  return cast(emit, product, resultDtype);
}

const batchMatMul: Kernel = {
  name: 'BatchMatMul',
  isMatrixProduct: true,
  inputs: ['a', 'b'],
  rule: ([a, b], { transposeA, transposeB }) =>
    productRecording(a as TensorSpec, b as TensorSpec, transposeA === true, transposeB === true),
  tensorflow: (emit, [a, b], _, parameters) => emitProduct(emit, a!, b!, parameters),
};

function activate<T>(emit: Emitter<T>, x: T, activation: string, alpha: number, weights: T | undefined): T {
  switch (activation) {
    case 'linear':
      return x;
    case 'relu':
      return emit.op('Relu', [x]);
    case 'relu6':
      return emit.op('Relu6', [x]);
    case 'elu':
      return emit.op('Elu', [x]);
    case 'sigmoid':
      return emit.op('Sigmoid', [x]);
    case 'leakyrelu':
      return emit.op('LeakyRelu', [x], { alpha: float(alpha) });
    case 'prelu':
      if (weights === undefined) throw new WhetstoneError('BACKEND_FAILED', 'The activation prelu needs weights.');
      return emit.op('SelectV2', [
        emit.op('GreaterEqual', [x, emit.constant('float32', [], [0])]),
        x,
        emit.op('Mul', [x, weights]),
      ]);
    default:
      throw new WhetstoneError('BACKEND_FAILED', `Activation ${activation} not found.`);
  }
}

/** Matrix product with optional bias and activation. */
const fusedMatMul: Kernel = {
  name: '_FusedMatMul',
  isMatrixProduct: true,
  inputs: ['a', 'b', 'bias', 'preluActivationWeights'],
  rule: (inputs, { transposeA, transposeB, activation, leakyreluAlpha }) => {
    const {
      outputs,
      outputShapes: shapes,
      inputShapes,
      parameters,
    } = productRecording(inputs[0] as TensorSpec, inputs[1] as TensorSpec, transposeA === true, transposeB === true);
    // Bias and the weights of prelu are optional. The weights come last.
    const hasWeights = activation === 'prelu';
    const hasBias = inputs.length - (hasWeights ? 1 : 0) === 3;
    return {
      outputs,
      outputShapes: shapes,
      inputShapes: [...(inputShapes ?? []), ...inputs.slice(2).map(() => null)],
      parameters: [
        ...parameters,
        hasBias,
        hasWeights,
        (activation as string | undefined) ?? 'linear',
        (leakyreluAlpha as number | undefined) ?? 0,
      ],
    };
  },
  tensorflow: (emit, inputs, _, parameters) => {
    const [, , , , hasBias, hasWeights, activation, alpha] = parameters;
    const sum = emitProduct(emit, inputs[0]!, inputs[1]!, parameters);
    const biased = hasBias === true ? emit.op('AddV2', [sum, inputs[2]!]) : sum;
    return activate(
      emit,
      biased,
      activation as string,
      alpha as number,
      hasWeights === true ? inputs.at(-1) : undefined,
    );
  },
};

const einsum: Kernel = {
  name: 'Einsum',
  inputs: 'list',
  rule: (inputs, { equation }) => {
    const plain = String(equation).replace(/\s/g, '');
    const { allDims, summedDims, idDims } = backend_util.decodeEinsumEquation(plain, inputs.length);
    backend_util.checkEinsumDimSizes(allDims.length, idDims, inputs as never);
    const sizes = new Map<number, number>();
    inputs.forEach(({ shape }, operand) =>
      shape.forEach((size, position) => sizes.set(idDims[operand]?.[position] ?? -1, size)),
    );
    const kept = allDims.length - summedDims.length;
    const shape = Array.from({ length: kept }, (_, dimension) => sizes.get(dimension) ?? 1);
    const dtype = inputs.some((input) => input.dtype === 'float32') ? 'float32' : 'int32';
    return { outputs: [{ shape, dtype }], parameters: [plain, dtype] };
  },
  tensorflow: (emit, inputs, _, [equation, dtype]) =>
    emit.op('Einsum', [inputs.map((input) => cast(emit, input, dtype as StorageDtype))], {
      equation: text(equation as string),
    }),
};

export const matrix: readonly Kernel[] = [batchMatMul, fusedMatMul, einsum];
