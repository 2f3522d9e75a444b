import { backend, clone, type Tensor } from '@tensorflow/tfjs-core';
import { customGradient } from './custom-gradient.js';

/** A backend that records operations. */
interface RecordingBackend {
  /** Submits the recorded operations, if they are enough for a segment. Called when few values are alive. */
  submitSegment?(): void;
}

const submit = (): void => (backend() as RecordingBackend).submitSegment?.();

/**
 * Returns `x` and marks a boundary between two segments of a computation, such as the layers of a model, at which few
 * other values are alive. A recording backend may submit its operations there, in the forward and the backward pass.
 * The device then computes while the host records, and equal segments are compiled once. Adds no operation.
 */
export function boundary<T extends Tensor>(x: T): T {
  submit();
  return customGradient(
    [x],
    () => ({ value: clone(x), saved: [] }),
    (gradient) => {
      submit();
      return [gradient];
    },
  );
}
