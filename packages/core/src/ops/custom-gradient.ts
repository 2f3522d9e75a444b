import * as tf from '@tensorflow/tfjs-core';

/** Result of the forward half of {@link customGradient}: the value, and the tensors that the backward half needs. */
export interface ForwardResult<T extends tf.Tensor> {
  readonly value: T;
  readonly saved: readonly tf.Tensor[];
}

/**
 * An operation with a gradient of its own. `backward` gets the gradient of the value and the saved tensors, and returns one gradient an input.
 * Tensors that `backward` needs must be saved, even those that are not inputs: whatever else the forward half made is gone by then.
 */
export function customGradient<T extends tf.Tensor>(
  inputs: readonly tf.Tensor[],
  forward: () => ForwardResult<T>,
  backward: (gradient: T, saved: readonly tf.Tensor[]) => tf.Tensor[],
): T {
  const { state } = tf.engine();
  const isTaped = state.gradientDepth > 0 && state.kernelDepth === 0;
  let kept: tf.Tensor[] = [];
  const result = tf.customGrad<T>(() => {
    const { value, saved } = forward();
    if (isTaped) kept = saved.map(share);
    return { value, gradFunc: (gradient: T) => backward(gradient, kept) };
  })(...inputs);
  // Whoever owns the tape disposes what its operations saved.
  const node = isTaped ? state.activeTape.at(-1) : undefined;
  if (node !== undefined) node.saved = kept;
  return result;
}

/**
 * Another tensor of the same data, kept. tfjs-core's own way to save records a copy as an operation for each tensor, and puts it on the tape besides.
 */
function share(tensor: tf.Tensor): tf.Tensor {
  const engine = tf.engine();
  const holder = engine.state.tensorInfo.get(tensor.dataId)?.backend ?? engine.backend;
  holder.incRef(tensor.dataId);
  return tf.keep(engine.makeTensorFromDataId(tensor.dataId, tensor.shape, tensor.dtype, holder));
}

/** The saved tensor at `index`, which the forward half is known to have put there. */
export function savedAt<T extends tf.Tensor>(saved: readonly tf.Tensor[], index: number): T {
  return saved[index] as T;
}
