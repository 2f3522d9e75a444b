import * as tf from '@tensorflow/tfjs-core';

/** Result of the forward half of {@link customGradient}: the value, and the tensors that the backward half needs. */
export interface ForwardResult<T extends tf.Tensor> {
  readonly value: T;
  readonly saved: readonly tf.Tensor[];
}

/**
 * The gradient of an input, or how to make it: asked for only where something that is trained lies behind that input.
 */
export type InputGradient = tf.Tensor | (() => tf.Tensor);

/**
 * An operation with a gradient of its own. `backward` gets the gradient of the value and the saved tensors, and returns
 * one gradient an input. Tensors that `backward` needs must be saved, even those that are not inputs: whatever else the
 * forward half made is gone by then.
 *
 * It does what `tf.customGrad` does, without the copy that tfjs-core records of each saved tensor and the dozen
 * functions it makes for each call.
 */
export function customGradient<T extends tf.Tensor>(
  inputs: readonly tf.Tensor[],
  forward: () => ForwardResult<T>,
  backward: (gradient: T, saved: readonly tf.Tensor[]) => readonly InputGradient[],
): T {
  const engine = tf.engine();
  const { state } = engine;
  const isTaped = state.gradientDepth > 0 && state.kernelDepth === 0;
  let made: ForwardResult<T> | undefined;
  let kept: tf.Tensor[] = [];
  // What the forward half calls is no operation of the tape's.
  state.kernelDepth++;
  engine.startScope();
  try {
    made = forward();
    if (isTaped) kept = made.saved.map((tensor) => tf.keep(share(tensor)));
  } finally {
    engine.endScope(made?.value);
    state.kernelDepth--;
  }
  const { value } = made;
  if (!isTaped) return value;
  // Whoever owns the tape disposes what its operations saved.
  state.activeTape.push({
    id: state.nextTapeNodeId++,
    kernelName: 'custom',
    inputs: numbered(inputs),
    outputs: [value],
    saved: kept,
    gradient: ([gradient]) =>
      numbered(backward(gradient as T, kept).map((of) => (typeof of === 'function' ? of : () => of))),
  });
  return value;
}

/** Items by their numbers, as tfjs-core's tape names inputs. */
function numbered<T>(items: readonly T[]): Record<string, T> {
  const named: Record<string, T> = {};
  for (const [index, item] of items.entries()) named[index] = item;
  return named;
}

/** Another tensor of the same data. Nothing is recorded. */
export function share<T extends tf.Tensor>(tensor: T): T {
  const engine = tf.engine();
  const holder = engine.state.tensorInfo.get(tensor.dataId)?.backend ?? engine.backend;
  holder.incRef(tensor.dataId);
  return engine.makeTensorFromDataId(tensor.dataId, tensor.shape, tensor.dtype, holder) as T;
}

/** The saved tensor at `index`, which the forward half is known to have put there. */
export function savedAt<T extends tf.Tensor>(saved: readonly tf.Tensor[], index: number): T {
  return saved[index] as T;
}
