import { customGrad, engine, keep, type Tensor } from '@tensorflow/tfjs-core';

/** Result of the forward function of {@link customGradient}: the value, and the tensors that `backward` needs. */
export interface ForwardResult<T extends Tensor> {
  readonly value: T;
  readonly saved: readonly Tensor[];
}

/**
 * The gradient of an input, or a function that computes it. The function is called only if the input depends on trained
 * parameters.
 */
export type InputGradient = Tensor | (() => Tensor);

/**
 * Runs an operation with a custom gradient. `backward` gets the gradient of the value and the saved tensors, and
 * returns one gradient per input. All tensors that `backward` needs must be saved: other tensors of the forward pass
 * are disposed.
 *
 * It has the semantics of `tf.customGrad`, without the copy that tfjs-core records of each saved tensor and the
 * closures that it creates per call.
 */
export function customGradient<T extends Tensor>(
  inputs: readonly Tensor[],
  forward: () => ForwardResult<T>,
  backward: (gradient: T, saved: readonly Tensor[]) => readonly InputGradient[],
): T {
  const tfjs = engine();
  const { state } = tfjs;
  const isTaped = state.gradientDepth > 0 && state.kernelDepth === 0;
  let result: ForwardResult<T> | undefined;
  let savedTensors: Tensor[] = [];
  // Operations within `forward` must not be recorded on the tape.
  state.kernelDepth++;
  tfjs.startScope();
  try {
    result = forward();
    if (isTaped) savedTensors = result.saved.map((tensor) => keep(share(tensor)));
  } finally {
    tfjs.endScope(result?.value);
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
export function share<T extends Tensor>(tensor: T): T {
  const tfjs = engine();
  const holder = tfjs.state.tensorInfo.get(tensor.dataId)?.backend ?? tfjs.backend;
  holder.incRef(tensor.dataId);
  return tfjs.makeTensorFromDataId(tensor.dataId, tensor.shape, tensor.dtype, holder) as T;
}

/** Returns the saved tensor at `index`, which must exist. */
export function savedAt<T extends Tensor>(saved: readonly Tensor[], index: number): T {
  return saved[index] as T;
}

/**
 * Runs `compute` without recording it for gradients, and returns its result as a constant. Intermediate tensors are
 * disposed at once. Without an active tape, it is equivalent to `tf.tidy`.
 */
export function outsideOfTape<T extends Tensor>(compute: () => T): T {
  return customGrad(() => ({ value: compute(), gradFunc: () => [] }))() as T;
}
