import type { Program } from '../../recorder/program.js';
import type { Describe, Executable } from '../engine.js';
import { buildFunctions, type BuiltFunction } from './function-builder.js';
import type { Pointer, TensorflowLibrary } from './library.js';
import type { Status } from './status.js';
import { storeInputsProgram } from './donated-inputs.js';
import { toError } from '@whetstone/core/util';

let count = 0;

/** Sets of donated inputs for which a program gets a function. Most programs need one. */
const MAX_VARIANTS = 4;

/** A function that owns some of its inputs: see `donated-inputs.ts`. */
export interface DonatingFunction {
  readonly compiled: CompiledFunction;
  /** The function that stores the donated inputs in variables. */
  readonly store: CompiledFunction;
  /** Positions of the donated inputs. */
  readonly positions: readonly number[];
}

/**
 * A program as a TensorFlow function. It is built in time slices, between which the event loop runs, or all at once for
 * a synchronous read.
 */
export class CompiledFunction implements Executable {
  readonly name = `whetstone_${count++}`;
  /** Whether it has run. TensorFlow prepares a function in its first run; later runs are submitted quickly. */
  warm = false;
  private building: Generator<void, readonly BuiltFunction[]> | null;
  private failure: Error | null = null;
  private uses = 0;
  private disposed = false;
  /** Names of the functions that are registered in the context. */
  private registered: string[] = [];
  private readonly variants = new Map<string, DonatingFunction>();

  constructor(
    private readonly library: TensorflowLibrary,
    private readonly context: Pointer,
    private readonly status: Status,
    readonly program: Program,
    describe: Describe,
    donated: readonly number[] = [],
  ) {
    this.building = buildFunctions(library, status, program, this.name, describe, new Set(donated));
  }

  /** Returns the same program as a function that owns the inputs at `positions`, or null at the limit of variants. */
  donating(positions: readonly number[], describe: Describe): DonatingFunction | null {
    const key = positions.join();
    const known = this.variants.get(key);
    if (known !== undefined || this.variants.size >= MAX_VARIANTS) return known ?? null;
    const { library, context, status, program } = this;
    const compiled = new CompiledFunction(library, context, status, program, describe, positions);
    const store = new CompiledFunction(
      library,
      context,
      status,
      storeInputsProgram(program, compiled.name, positions),
      () => 'Storing donated inputs',
    );
    const variant = { compiled, store, positions };
    this.variants.set(key, variant);
    return variant;
  }

  /**
   * Builds for at most `milliseconds`. Returns whether the function is registered in TensorFlow.
   *
   * @throws why it cannot be built, at every call
   */
  build(milliseconds: number): boolean {
    if (this.failure !== null) throw this.failure;
    if (this.building === null) return true;
    const until = performance.now() + milliseconds;
    try {
      for (let next = this.building.next(); ; next = this.building.next()) {
        if (next.done === true) {
          this.register(next.value);
          return true;
        }
        if (performance.now() > until) return false;
      }
    } catch (error) {
      this.building = null;
      this.failure = toError(error);
      throw this.failure;
    }
  }

  use(): void {
    this.uses++;
  }

  endUse(): void {
    this.uses--;
    this.removeIfUnused();
  }

  /** Removes the function from TensorFlow as soon as no queued work needs it. */
  dispose(): void {
    this.disposed = true;
    for (const { compiled, store } of this.variants.values()) {
      compiled.dispose();
      store.dispose();
    }
    this.removeIfUnused();
  }

  private register(functions: readonly BuiltFunction[]): void {
    this.building = null;
    for (const { name, pointer } of functions.toReversed()) {
      this.library.TFE_ContextAddFunction(this.context, pointer, this.status.pointer);
      this.library.TF_DeleteFunction(pointer);
      this.status.check('Adding a function');
      this.registered.push(name);
    }
  }

  private removeIfUnused(): void {
    if (!this.disposed || this.uses > 0) return;
    this.building?.return([]);
    this.building = null;
    for (const name of this.registered.toReversed())
      this.library.TFE_ContextRemoveFunction(this.context, name, this.status.pointer);
    this.registered = [];
  }
}
