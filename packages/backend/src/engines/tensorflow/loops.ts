import type { StorageDtype } from '../../recorder/types.js';
import type { Pointer, TensorflowLibrary } from './library.js';
import { Status } from './status.js';

/**
 * A function whose operations the XLA in TensorFlow compiles into one loop: at the first run, and for the shapes of
 * that run.
 */
export interface Loop {
  readonly name: string;
  readonly pointer: Pointer;
  /** Dtype of the result. */
  readonly type: StorageDtype;
}

/** Returns a loop's function name: the same in all programs, so that the loop is compiled once. */
export const loopName = (name: string): string => `whetstone_loop_${name}`;

/**
 * Attribute that makes XLA compile a function. It must be set on both the node and the function. A TensorFlow without
 * XLA ignores it.
 */
export const COMPILED_BY_XLA = '_XlaMustCompile';

const NOT_FOUND = 5;
const known = new WeakMap<TensorflowLibrary, boolean>();

/** Returns whether this build of TensorFlow has XLA for CPUs, by its op `XlaLaunch`. Builds for Windows do not. */
export function compilesLoops(library: TensorflowLibrary): boolean {
  const cached = known.get(library);
  if (cached !== undefined) return cached;
  const graph = library.TF_NewGraph();
  const status = new Status(library);
  try {
    // The node lacks its inputs and always fails. The code says whether TensorFlow knows the op.
    library.TF_FinishOperation(library.TF_NewOperation(graph, 'XlaLaunch', 'known'), status.pointer);
    const found = library.TF_GetCode(status.pointer) !== NOT_FOUND;
    known.set(library, found);
    return found;
  } finally {
    status.dispose();
    library.TF_DeleteGraph(graph);
  }
}
