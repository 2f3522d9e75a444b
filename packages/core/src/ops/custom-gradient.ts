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
  const operation = tf.customGrad<T>((...parts) => {
    const save = parts.at(-1) as (tensors: tf.Tensor[]) => void;
    const { value, saved } = forward();
    save([...saved]);
    return { value, gradFunc: (gradient: T, tensors: tf.Tensor[]) => backward(gradient, tensors) };
  });
  return operation(...inputs);
}

/** The saved tensor at `index`, which the forward half is known to have put there. */
export function savedAt<T extends tf.Tensor>(saved: readonly tf.Tensor[], index: number): T {
  return saved[index] as T;
}
