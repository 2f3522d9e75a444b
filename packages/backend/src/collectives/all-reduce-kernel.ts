import { type Emitter, int, text, type } from '../kernels/emitter.js';
import type { Kernel } from '../kernels/kernel.js';

/** Name of the kernel: inputs a list of tensors; attributes as {@link AllReduceAttributes} says. */
export const ALL_REDUCE_KERNEL = 'WhetstoneAllReduce';

export interface AllReduceAttributes {
  /** Tensors of each bucket: the first bucket takes the first tensors, and so on. */
  readonly buckets: readonly number[];
  /**
   * Number that the first bucket has in the whole cluster; the others follow. A number stands for one list of shapes.
   */
  readonly firstKey: number;
  readonly workers: number;
  readonly timeoutSeconds: number;
}

const GROUP_KEY = 1;

/**
 * Sums tensors over all workers. One bucket is one message: it sets out when its last tensor is computed, while
 * TensorFlow goes on with what is recorded beside it. Gives the sums, and two numbers of seconds: from the first
 * bucket's setting out to the last one's arrival, and what of that was after the last tensor was computed.
 */
export const allReduce: Kernel = {
  name: ALL_REDUCE_KERNEL,
  inputs: 'list',
  returnsList: true,
  eager: false,
  hasSideEffects: true,
  rule: (inputs, attributes) => {
    const { buckets, firstKey, workers, timeoutSeconds } = attributes as unknown as AllReduceAttributes;
    const seconds = { shape: [], dtype: 'float32' as const };
    return {
      outputs: [...inputs.map(({ shape }) => ({ shape, dtype: 'float32' as const })), seconds, seconds],
      parameters: [workers, timeoutSeconds, firstKey, ...buckets],
    };
  },
  tensorflow: (emit, inputs, _, [workers, timeoutSeconds, firstKey, ...buckets]) => {
    const number = (value: number) => emit.constant('int32', [], [value]);
    const began = emit.op('Timestamp', []);
    const since = (after: readonly (typeof began)[]) =>
      emit.op('Cast', [emit.op('Sub', [emit.op('Timestamp', [], {}, after), began])], { DstT: type('float32') });
    const ready: (typeof began)[] = [];
    const done: (typeof began)[] = [];
    const sums: (typeof began)[] = [];
    let first = 0;
    buckets.forEach((count, index) => {
      const parts = inputs
        .slice(first, first + Number(count))
        .map((input) =>
          emit.typeOf(input) === 'float32' ? input : emit.op('Cast', [input], { DstT: type('float32') }),
        );
      first += Number(count);
      ready.push(since(parts));
      const reduced = emit.op(
        'CollectiveReduceV2',
        [joined(emit, parts), number(Number(workers)), number(GROUP_KEY), number(Number(firstKey) + index), []],
        {
          merge_op: text('Add'),
          final_op: text('Id'),
          communication_hint: text('ring'),
          timeout_seconds: { kind: 'float', value: Number(timeoutSeconds) },
        },
      );
      done.push(since([reduced]));
      sums.push(...parted(emit, reduced, parts));
    });
    const axis = number(0);
    const arrived = emit.op('Max', [emit.op('Pack', [done], { axis: int(0) }), axis]);
    const times = emit.op('Pack', [ready], { axis: int(0) });
    return [
      ...sums,
      emit.op('Sub', [arrived, emit.op('Min', [times, axis])]),
      emit.op('Sub', [arrived, emit.op('Max', [times, axis])]),
    ];
  },
};

/** Tensors as one vector; a tensor alone travels as it is. */
function joined<T>(emit: Emitter<T>, parts: readonly T[]): T {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  const flat = emit.constant('int32', [1], [-1]);
  return emit.op('ConcatV2', [parts.map((part) => emit.op('Reshape', [part, flat])), emit.constant('int32', [], [0])]);
}

/** A vector as tensors of the shapes of `parts`. */
function parted<T>(emit: Emitter<T>, vector: T, parts: readonly T[]): T[] {
  if (parts.length === 1) return [vector];
  const sizes = emit.op('Pack', [parts.map((part) => emit.op('Size', [part], { out_type: type('int32') }))], {
    axis: int(0),
  });
  const pieces = emit.ops(
    'SplitV',
    [vector, sizes, emit.constant('int32', [], [0])],
    { num_split: int(parts.length) },
    parts.length,
  );
  return pieces.map((piece, index) =>
    emit.op('Reshape', [piece, emit.op('Shape', [parts[index] as T], { out_type: type('int32') })]),
  );
}
