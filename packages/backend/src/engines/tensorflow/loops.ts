import type { StorageDtype } from '../../recorder/types.js';
import type { Pointer, TensorflowLibrary } from './library.js';
import { Status } from './status.js';

/**
 * A function whose operations XLA, which TensorFlow brings, compiles as one loop when it first runs, for the shapes
 * that it runs with.
 */
export interface Loop {
  readonly name: string;
  readonly pointer: Pointer;
  /** Of its result. */
  readonly type: StorageDtype;
}

/** Loops have one name in all programs, so that they are compiled once. */
export const loopName = (name: string): string => `whetstone_loop_${name}`;

/**
 * Makes a node's function be compiled by XLA: on the node as on the function. Where no XLA is, TensorFlow pays no heed
 * to it.
 */
export const COMPILED_BY_XLA = '_XlaMustCompile';

const NOT_FOUND = 5;
const known = new WeakMap<TensorflowLibrary, boolean>();

/**
 * Whether this build of TensorFlow has XLA for the processor, which is whether it knows XLA's operation: the one for
 * Windows has neither.
 */
export function compilesLoops(library: TensorflowLibrary): boolean {
  const asked = known.get(library);
  if (asked !== undefined) return asked;
  const graph = library.TF_NewGraph();
  const status = new Status(library);
  try {
    // It lacks all that it needs and fails in any case; the question is at what.
    library.TF_FinishOperation(library.TF_NewOperation(graph, 'XlaLaunch', 'known'), status.pointer);
    const found = library.TF_GetCode(status.pointer) !== NOT_FOUND;
    known.set(library, found);
    return found;
  } finally {
    status.dispose();
    library.TF_DeleteGraph(graph);
  }
}
