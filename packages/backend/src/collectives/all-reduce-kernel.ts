import { type Emitter, int, text, type } from '../kernels/emitter.js';
import type { Kernel } from '../kernels/kernel.js';

/** Name of the kernel. Its inputs are a list of tensors, its attributes {@link AllReduceAttributes}. */
export const ALL_REDUCE_KERNEL = 'WhetstoneAllReduce';

export interface AllReduceAttributes {
  /** Number of tensors in each bucket, in order. */
  readonly buckets: readonly number[];
  /** Instance key of the first bucket in the cluster. A key identifies one list of shapes. */
  readonly firstKey: number;
  readonly workers: number;
  readonly timeoutSeconds: number;
}

const GROUP_KEY = 1;

/**
 * Sums tensors over all workers. A bucket is one message, sent when its last tensor is computed, while TensorFlow
 * computes the next ones. Results are the sums, then two times in seconds: from the first bucket's start to the last
 * one's end, and the share of it after the last tensor was computed.
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
    const start = emit.op('Timestamp', []);
    const secondsAfter = (controlInputs: readonly (typeof start)[]) =>
      emit.op('Cast', [emit.op('Sub', [emit.op('Timestamp', [], {}, controlInputs), start])], {
        DstT: type('float32'),
      });
    const ready: (typeof start)[] = [];
    const done: (typeof start)[] = [];
    const sums: (typeof start)[] = [];
    let first = 0;
    buckets.forEach((count, index) => {
      const bucket = inputs
        .slice(first, first + Number(count))
        .map((input) =>
          emit.typeOf(input) === 'float32' ? input : emit.op('Cast', [input], { DstT: type('float32') }),
        );
      first += Number(count);
      ready.push(secondsAfter(bucket));
      const reduced = emit.op(
        'CollectiveReduceV2',
        [concatenate(emit, bucket), number(Number(workers)), number(GROUP_KEY), number(Number(firstKey) + index), []],
        {
          merge_op: text('Add'),
          final_op: text('Id'),
          communication_hint: text('ring'),
          timeout_seconds: { kind: 'float', value: Number(timeoutSeconds) },
        },
      );
      done.push(secondsAfter([reduced]));
      sums.push(...split(emit, reduced, bucket));
    });
    const axis = number(0);
    const lastDone = emit.op('Max', [emit.op('Pack', [done], { axis: int(0) }), axis]);
    const times = emit.op('Pack', [ready], { axis: int(0) });
    return [
      ...sums,
      emit.op('Sub', [lastDone, emit.op('Min', [times, axis])]),
      emit.op('Sub', [lastDone, emit.op('Max', [times, axis])]),
    ];
  },
};

/** Returns tensors as one vector, or a single tensor unchanged. */
function concatenate<T>(emit: Emitter<T>, tensors: readonly T[]): T {
  const [only] = tensors;
  if (tensors.length === 1 && only !== undefined) return only;
  const flat = emit.constant('int32', [1], [-1]);
  return emit.op('ConcatV2', [
    tensors.map((tensor) => emit.op('Reshape', [tensor, flat])),
    emit.constant('int32', [], [0]),
  ]);
}

/** Splits a vector into tensors with the shapes of `tensors`. */
function split<T>(emit: Emitter<T>, vector: T, tensors: readonly T[]): T[] {
  if (tensors.length === 1) return [vector];
  const sizes = emit.op('Pack', [tensors.map((tensor) => emit.op('Size', [tensor], { out_type: type('int32') }))], {
    axis: int(0),
  });
  const vectors = emit.ops(
    'SplitV',
    [vector, sizes, emit.constant('int32', [], [0])],
    { num_split: int(tensors.length) },
    tensors.length,
  );
  return vectors.map((values, index) =>
    emit.op('Reshape', [values, emit.op('Shape', [tensors[index] as T], { out_type: type('int32') })]),
  );
}
