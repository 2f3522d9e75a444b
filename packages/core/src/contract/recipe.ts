import type { Json } from './json.js';

/**
 * How another thread makes the same object: it imports `module` (a package or a file URL) and calls its export `name`
 * with `argument`. What has none stays on the main thread.
 */
export interface Recipe {
  readonly module: string;
  readonly name: string;
  readonly argument: Json;
  /** Files besides the argument that decide what comes out: part of the key of cached data. */
  readonly files?: readonly string[];
}
