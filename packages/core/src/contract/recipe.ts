import type { Json } from './json.js';

/**
 * Tells a worker thread how to create the same object. The thread imports `module`, a package or a file URL, and calls
 * its export `name` with `argument`. Objects without a recipe are used on the main thread only.
 */
export interface Recipe {
  readonly module: string;
  readonly name: string;
  readonly argument: Json;
  /** Files that determine the result in addition to the argument. Their contents enter the key of cached data. */
  readonly files?: readonly string[];
}
