import * as tf from '@tensorflow/tfjs-core';

/** Result of the forward function of {@link customGradient}: the value, and the tensors that `backward` needs. */
export interface ForwardResult<T extends tf.Tensor> {
  readonly value: T;
  readonly saved: readonly tf.Tensor[];
}

/**
 * The gradient of an input, or a function that computes it. The function is called only if the input depends on trained
 * parameters.
 */
export type InputGradient = tf.Tensor | (() => tf.Tensor);

/**
 * Runs an operation with a custom gradient. `backward` gets the gradient of the value and the saved tensors, and
 * returns one gradient per input. All tensors that `backward` needs must be saved: other tensors of the forward pass
 * are disposed.
 *
 * It has the semantics of `tf.customGrad`, without the copy that tfjs-core records of each saved tensor and the
 * closures that it creates per call.
 */
export function customGradient<T extends tf.Tensor>(
  inputs: readonly tf.Tensor[],
  forward: () => ForwardResult<T>,
  backward: (gradient: T, saved: readonly tf.Tensor[]) => readonly InputGradient[],
): T {
  const engine = tf.engine();
  const { state } = engine;
  const isTaped = state.gradientDepth > 0 && state.kernelDepth === 0;
  let result: ForwardResult<T> | undefined;
  let savedTensors: tf.Tensor[] = [];
  // Operations within `forward` must not be recorded on the tape.
  state.kernelDepth++;
  engine.startScope();
  try {
    result = forward();
    if (isTaped) savedTensors = result.saved.map((tensor) => tf.keep(share(tensor)));
  } finally {
    engine.endScope(result?.value);
    state.kernelDepth--;
  }
  const { value } = result;
  if (!isTaped) return value;
  // The owner of the tape disposes the saved tensors.
  state.activeTape.push({
    id: state.nextTapeNodeId++,
    kernelName: 'custom',
    inputs: numbered(inputs),
    outputs: [value],
    saved: savedTensors,
    gradient: ([gradient]) =>
      numbered(backward(gradient as T, savedTensors).map((of) => (typeof of === 'function' ? of : () => of))),
  });
  return value;
}

/** Returns the items by their index, as tfjs-core's tape names inputs. */
function numbered<T>(items: readonly T[]): Record<string, T> {
  const named: Record<string, T> = {};
  for (const [index, item] of items.entries()) named[index] = item;
  return named;
}

/** Returns a new tensor with the same data. No operation is recorded. */
export function share<T extends tf.Tensor>(tensor: T): T {
  const engine = tf.engine();
  const holder = engine.state.tensorInfo.get(tensor.dataId)?.backend ?? engine.backend;
  holder.incRef(tensor.dataId);
  return engine.makeTensorFromDataId(tensor.dataId, tensor.shape, tensor.dtype, holder) as T;
}

/** Returns the saved tensor at `index`, which must exist. */
export function savedAt<T extends tf.Tensor>(saved: readonly tf.Tensor[], index: number): T {
  return saved[index] as T;
}
