import { type Emitter, flag, int, arithmetic } from '../kernels/emitter.js';
import { vector, type HostOperand, type Kernel } from '../kernels/kernel.js';
import type { TensorSpec } from '../recorder/types.js';

const operandLists = new Map<string, readonly HostOperand[]>();
/** Far more than the head shapes of a model in one step. */
const MAX_OPERAND_LISTS = 64;

/** Returns vectors as host operands, which the layers of a pass share. */
function vectors(lists: readonly (readonly number[])[]): readonly HostOperand[] {
  const key = lists.join(';');
  const known = operandLists.get(key);
  if (known !== undefined) return known;
  if (operandLists.size >= MAX_OPERAND_LISTS) operandLists.clear();
  const created = Object.freeze(lists.map((list) => vector(list)));
  operandLists.set(key, created);
  return created;
}

/** Swaps the two halves of the last axis: reshapes them to two rows and reverses these. */
function swapAll<T>(emit: Emitter<T>, x: T, halves: T, whole: T): T {
  return emit.op('Reshape', [
    emit.op('ReverseV2', [emit.op('Reshape', [x, halves]), emit.constant('int32', [1], [3])]),
    whole,
  ]);
}

/** Swaps the halves of the first features; the rest stays. */
function swapSome<T>(emit: Emitter<T>, x: T, sizes: T): T {
  const [first, second, rest] = emit.ops(
    'SplitV',
    [x, sizes, emit.constant('int32', [], [3])],
    { num_split: int(3) },
    3,
  ) as [T, T, T];
  return emit.op('ConcatV2', [[second, first, rest], emit.constant('int32', [], [3])]);
}

/** Applies rotary position embedding or its gradient: `rotate` of `@whetstone/core/ops`. */
function rotate<T>(
  emit: Emitter<T>,
  x: T,
  tables: readonly (T | undefined)[],
  [byHead, swap]: readonly [T, T],
  all: boolean,
  backwards: boolean,
): T {
  const { add, subtract, multiply } = arithmetic(emit);
  const [cos, sin] = tables as readonly [T, T];
  const crossed = multiply(all ? swapAll(emit, x, swap, byHead) : swapSome(emit, x, swap), sin);
  return (backwards ? subtract : add)(multiply(x, cos), crossed);
}

/** Returns the shape or sizes with which {@link rotate} swaps halves. Empty if no feature is rotated. */
const swapOperands = (byHead: readonly number[], rotated: number): readonly (readonly number[])[] => {
  const features = byHead.at(-1) ?? 0;
  if (rotated === 0) return [];
  return [
    rotated === features ? [...byHead.slice(0, -1), 2, features / 2] : [rotated / 2, rotated / 2, features - rotated],
  ];
};

const swapAxes = <T>(emit: Emitter<T>, x: T): T => emit.op('Transpose', [x, emit.constant('int32', [4], [0, 2, 1, 3])]);

/** `splitHeads` of `@whetstone/core/ops`. The op's result is folded, as attention expects it. */
const splitHeads: Kernel = {
  name: 'WhetstoneSplitHeads',
  inputs: ['x', 'cos', 'sin'],
  returnsList: true,
  rule: ([x], attributes) => {
    const { rows, headDim, groups, rotated } = attributes as Record<'rows' | 'headDim' | 'groups' | 'rotated', number>;
    const [tokens = 0, features = 0] = (x as TensorSpec).shape;
    const [length, heads] = [tokens / rows, features / headDim];
    const byHead = [rows, heads, length, headDim];
    const folded = [(rows * heads) / groups, groups * length, headDim];
    return {
      outputs: [{ shape: folded, dtype: 'float32' }],
      outputShapes: [byHead],
      parameters: [rotated > 0, rotated === headDim],
      host: vectors([[rows, length, heads, headDim], folded, byHead, ...swapOperands(byHead, rotated)]),
    };
  },
  tensorflow: (emit, [x, ...tables], [byToken, folded, byHead, swap], [rotates, all]) => {
    const heads = swapAxes(emit, emit.op('Reshape', [x!, byToken!]));
    return [
      emit.op('Reshape', [
        rotates === true ? rotate(emit, heads, tables, [byHead!, swap!], all === true, false) : heads,
        folded!,
      ]),
    ];
  },
};

/** `joinHeads` of `@whetstone/core/ops`. */
const joinHeads: Kernel = {
  name: 'WhetstoneJoinHeads',
  inputs: ['x', 'cos', 'sin'],
  acceptsAnyShape: true,
  returnsList: true,
  rule: ([x], attributes) => {
    const rotated = attributes['rotated'] as number;
    const byHead = (x as TensorSpec).shape;
    const [rows = 1, heads = 1, length = 1, headDim = 1] = byHead;
    const joined = [rows * length, heads * headDim];
    return {
      outputs: [{ shape: joined, dtype: 'float32' }],
      parameters: [rotated > 0, rotated === headDim],
      host: vectors([byHead, joined, ...swapOperands(byHead, rotated)]),
    };
  },
  tensorflow: (emit, [x, ...tables], [byHead, joined, swap], [rotates, all]) => {
    const heads = emit.op('Reshape', [x!, byHead!]);
    return [
      emit.op('Reshape', [
        swapAxes(emit, rotates === true ? rotate(emit, heads, tables, [byHead!, swap!], all === true, true) : heads),
        joined!,
      ]),
    ];
  },
};

/**
 * Sums gradient · result over each head's features, folded like queries. The gradient of attention subtracts these sums
 * from the gradients of its weights.
 */
const attentionAlong: Kernel = {
  name: 'WhetstoneAttentionAlong',
  inputs: ['gradient', 'result'],
  returnsList: true,
  rule: ([gradient], attributes) => {
    const { rows, headDim, batch } = attributes as Record<'rows' | 'headDim' | 'batch', number>;
    const [tokens = 0, features = 0] = (gradient as TensorSpec).shape;
    const [length, heads] = [tokens / rows, features / headDim];
    const folded = [batch, (tokens * heads) / batch, 1];
    return { outputs: [{ shape: folded, dtype: 'float32' }], host: vectors([[rows, length, heads, headDim], folded]) };
  },
  tensorflow: (emit, [gradient, result], [byToken, folded]) => {
    const products = emit.op('Reshape', [arithmetic(emit).multiply(gradient!, result!), byToken!]);
    const sums = emit.op('Sum', [products, emit.constant('int32', [1], [3])], { keep_dims: flag(false) });
    return [emit.op('Reshape', [emit.op('Transpose', [sums, emit.constant('int32', [3], [0, 2, 1])]), folded!])];
  },
};

export const headKernels: readonly Kernel[] = [splitHeads, joinHeads, attentionAlong];
