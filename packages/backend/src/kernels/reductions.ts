import { backend_util, util } from '@tensorflow/tfjs-core';
import { sizeOfShape } from '@whetstone/core/util';
import { type TensorSpec } from '../recorder/types.js';
import { boolToInt, cast } from './elementwise.js';
import { scalar, type Kernel } from './kernel.js';
import { flag, type } from './emitter.js';

const axesOf = (attribute: unknown, shape: readonly number[]): number[] =>
  util.parseAxisParam((attribute ?? null) as number[], shape as number[]);

function reducedShape(shape: readonly number[], axes: readonly number[], keepDimensions: boolean): number[] {
  return keepDimensions
    ? backend_util.expandShapeToKeepDim(
        shape.filter((_, axis) => !axes.includes(axis)),
        axes as number[],
      )
    : shape.filter((_, axis) => !axes.includes(axis));
}

/** Returns a reduction over axes. The dtype stays, except for Mean (float32), All and Any (bool). */
function reduction(name: string, attribute: 'axis' | 'reductionIndices', result: 'same' | 'float32' | 'bool'): Kernel {
  return {
    name,
    inputs: ['x'],
    rule: ([x], attributes) => {
      const { shape, dtype } = x as TensorSpec;
      const axes = axesOf(attributes[attribute], shape);
      const keep = attributes['keepDims'] === true;
      const resultType =
        result !== 'same' ? result : dtype === 'bool' && (name === 'Sum' || name === 'Prod') ? 'int32' : dtype;
      return { outputs: [{ shape: reducedShape(shape, axes, keep), dtype: resultType }], parameters: [keep, ...axes] };
    },
    tensorflow: (emit, [x], _, [keep, ...axes]) => {
      const given = emit.typeOf(x!);
      const needed = result === 'bool' ? 'bool' : result === 'float32' ? 'float32' : given === 'bool' ? 'int32' : given;
      const indices = emit.constant('int32', [axes.length], axes as number[]);
      const reduced = emit.op(name, [cast(emit, x!, needed), indices], { keep_dims: flag(keep as boolean) });
      return (name === 'Max' || name === 'Min') && given === 'bool' ? cast(emit, reduced, 'bool') : reduced;
    },
  };
}

function argument(name: 'ArgMax' | 'ArgMin'): Kernel {
  return {
    name,
    inputs: ['x'],
    rule: ([x], { axis }) => {
      const { shape } = x as TensorSpec;
      const [chosen = 0] = axesOf(axis, shape);
      return {
        outputs: [{ shape: shape.filter((_, position) => position !== chosen), dtype: 'int32' }],
        parameters: [chosen],
      };
    },
    tensorflow: (emit, [x], _, [axis]) => {
      const values = boolToInt(emit, x!);
      return emit.op(name, [values, emit.constant('int32', [], [axis as number])], { output_type: type('int32') });
    },
  };
}

/** Returns a cumulative sum or product along one axis. */
function cumulative(name: 'Cumsum' | 'Cumprod'): Kernel {
  return {
    name,
    inputs: ['x'],
    rule: ([x], { axis, exclusive, reverse }) => {
      const { shape, dtype } = x as TensorSpec;
      const [chosen = 0] = axesOf(axis, shape);
      return {
        outputs: [{ shape, dtype: dtype === 'bool' ? 'int32' : dtype }],
        parameters: [chosen, exclusive === true, reverse === true],
      };
    },
    tensorflow: (emit, [x], _, [axis, exclusive, reverse]) => {
      const values = boolToInt(emit, x!);
      return emit.op(name, [values, emit.constant('int32', [], [axis as number])], {
        exclusive: flag(exclusive as boolean),
        reverse: flag(reverse as boolean),
      });
    },
  };
}

/** Most axes that oneDNN's softmax supports. */
const MAX_SOFTMAX_AXES = 5;

/** Returns a softmax along the last axis, the only one that tfjs-core uses. */
function softmax(name: 'Softmax' | 'LogSoftmax'): Kernel {
  return {
    name,
    inputs: ['logits'],
    eager: false,
    rule: ([x]) => {
      const { shape } = x as TensorSpec;
      if (shape.length <= MAX_SOFTMAX_AXES) return { outputs: [{ shape, dtype: 'float32' }] };
      const rows = [sizeOfShape(shape.slice(0, -1)), shape.at(-1) ?? 1];
      return { outputs: [{ shape: rows, dtype: 'float32' }], outputShapes: [shape], inputShapes: [rows] };
    },
    tensorflow: (emit, [x]) => emit.op(name, [cast(emit, x!, 'float32')]),
  };
}

/** The `k` largest values along the last axis, and their indices. */
const topK: Kernel = {
  name: 'TopK',
  inputs: ['x'],
  returnsList: true,
  rule: ([x], { k, sorted }) => {
    const { shape, dtype } = x as TensorSpec;
    const result = [...shape.slice(0, -1), k as number];
    return {
      outputs: [
        { shape: result, dtype },
        { shape: result, dtype: 'int32' },
      ],
      parameters: [sorted === true],
      host: [scalar(k as number, 'int32')],
    };
  },
  tensorflow: (emit, [x], [k], [sorted]) => {
    const [values, indices] = emit.ops('TopKV2', [boolToInt(emit, x!), k!], { sorted: flag(sorted as boolean) }, 2);
    return [cast(emit, values!, emit.typeOf(x!)), indices!];
  },
};

export const reductions: readonly Kernel[] = [
  reduction('Sum', 'axis', 'same'),
  reduction('Mean', 'axis', 'float32'),
  reduction('Prod', 'axis', 'same'),
  reduction('Max', 'reductionIndices', 'same'),
  reduction('Min', 'axis', 'same'),
  reduction('All', 'axis', 'bool'),
  reduction('Any', 'axis', 'bool'),
  argument('ArgMax'),
  argument('ArgMin'),
  cumulative('Cumsum'),
  cumulative('Cumprod'),
  softmax('Softmax'),
  softmax('LogSoftmax'),
  topK,
];
