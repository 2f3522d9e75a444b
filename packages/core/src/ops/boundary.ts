import { backend, clone, type Tensor } from '@tensorflow/tfjs-core';
import { customGradient } from './custom-gradient.js';

/** A backend that records. */
interface RecordingBackend {
  /** Few values are alive: what was recorded may be handed to the device, if it is worth a piece of its own. */
  submitSegment?(): void;
}

const submit = (): void => (backend() as RecordingBackend).submitSegment?.();

/**
 * `x`, at a place between two stretches of a computation, such as a model's layers, where little besides it is alive. A
 * backend that records may hand over there what it has, on the way there and on the way back: the device works while
 * the host records on, and stretches that are alike are compiled once. No operation, and none where nothing is
 * recorded.
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
