import { backend, clone, fill, keep, scalar, type Scalar, type Tensor } from '@tensorflow/tfjs-core';
import { customGradient } from './custom-gradient.js';

const scalarShape: number[] = [];

/**
 * Returns a scalar that is part of the graph instead of an input from the host. A recording backend compiles it in and
 * uploads nothing. Use it for numbers that never change (an epsilon), not for others (a learning rate).
 */
export function constant(value: number, dtype: 'float32' | 'int32' = 'float32'): Scalar {
  return fill(scalarShape, value, dtype) as Scalar;
}

/** Returns a number as a scalar tensor. Equal numbers share one tensor, which belongs to the object. */
export interface Scalars {
  (value: number): Scalar;
  /** Disposes all tensors. */
  dispose(): void;
}

/** Creates scalar tensors on demand. They are inputs of a recorded graph: a new value does not recompile it. */
export function createScalars(): Scalars {
  const made = new Map<number, Scalar>();
  const get = (value: number): Scalar => {
    const found = made.get(value) ?? keep(scalar(value));
    made.set(value, found);
    return found;
  };
  return Object.assign(get, {
    dispose: () => {
      for (const tensor of made.values()) tensor.dispose();
    },
  });
}

/** A backend that records operations. */
interface RecordingBackend {
  /** Submits the recorded operations, if they are enough for a segment. Called when few values are alive. */
  submitSegment?(): void;
  /** Submits all recorded operations. */
  barrier?(): void;
}

const submit = (): void => (backend() as RecordingBackend).submitSegment?.();

/**
 * Submits what a recording backend has recorded. What is recorded next becomes a graph of its own, so that it is
 * compiled once whatever precedes it.
 */
export const submitRecording = (): void => (backend() as RecordingBackend).barrier?.();

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

/**
 * Returns whether the current backend compiles a graph for each shape. A tensor that grows with each step should then
 * grow in larger increments.
 */
export function shapesAreStatic(): boolean {
  return (backend() as { readonly staticShapes?: boolean }).staticShapes === true;
}
