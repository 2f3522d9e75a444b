import type { Program } from '../../recorder/program.js';
import type { Describe, Executable } from '../engine.js';
import { buildFunctions, type MadeFunction } from './function-builder.js';
import type { Pointer, TensorflowLibrary } from './library.js';
import type { Status } from './status.js';
import { handOverProgram } from './taken-inputs.js';
import { toError } from '@whetstone/core/util';

let count = 0;

/** Functions of one program that take inputs over, each another set of them: a program has one such set, as a rule. */
const MOST_VARIANTS = 4;

/** A function that takes some of its inputs over. */
export interface TakingFunction {
  readonly compiled: CompiledFunction;
  /** The function that hands them over. */
  readonly handOver: CompiledFunction;
  readonly positions: readonly number[];
}

/**
 * A program as a TensorFlow function: made slice by slice, so that the event loop comes round in between, or all at
 * once for somebody who cannot wait.
 */
export class CompiledFunction implements Executable {
  readonly name = `whetstone_${count++}`;
  /** Whether it ran before: TensorFlow has prepared it then, and handing it over takes no time any more. */
  warm = false;
  private making: Generator<void, readonly MadeFunction[]> | null;
  private failure: Error | null = null;
  private uses = 0;
  private disposed = false;
  /** Names of the functions that TensorFlow knows. */
  private known: string[] = [];
  private readonly variants = new Map<string, TakingFunction>();

  constructor(
    private readonly library: TensorflowLibrary,
    private readonly context: Pointer,
    private readonly status: Status,
    readonly program: Program,
    describe: Describe,
    taken: readonly number[] = [],
  ) {
    this.making = buildFunctions(library, status, program, this.name, describe, new Set(taken));
  }

  /** The same program as a function that takes these inputs over; null where enough others were made of it. */
  taking(positions: readonly number[], describe: Describe): TakingFunction | null {
    const key = positions.join();
    const known = this.variants.get(key);
    if (known !== undefined || this.variants.size >= MOST_VARIANTS) return known ?? null;
    const { library, context, status, program } = this;
    const compiled = new CompiledFunction(library, context, status, program, describe, positions);
    const handOver = new CompiledFunction(
      library,
      context,
      status,
      handOverProgram(program, compiled.name, positions),
      () => 'Handing inputs over',
    );
    const made = { compiled, handOver, positions };
    this.variants.set(key, made);
    return made;
  }

  /** Works on it for so long. True when TensorFlow knows the function. Throws why it cannot be made, every time. */
  make(milliseconds: number): boolean {
    if (this.failure !== null) throw this.failure;
    if (this.making === null) return true;
    const until = performance.now() + milliseconds;
    try {
      for (let next = this.making.next(); ; next = this.making.next()) {
        if (next.done === true) {
          this.add(next.value);
          return true;
        }
        if (performance.now() > until) return false;
      }
    } catch (error) {
      this.making = null;
      this.failure = toError(error);
      throw this.failure;
    }
  }

  use(): void {
    this.uses++;
  }

  used(): void {
    this.uses--;
    this.removeIfDone();
  }

  /** TensorFlow forgets it when nothing queued needs it any more. */
  dispose(): void {
    this.disposed = true;
    for (const { compiled, handOver } of this.variants.values()) {
      compiled.dispose();
      handOver.dispose();
    }
    this.removeIfDone();
  }

  private add(made: readonly MadeFunction[]): void {
    this.making = null;
    for (const { name, pointer } of made.toReversed()) {
      this.library.TFE_ContextAddFunction(this.context, pointer, this.status.pointer);
      this.library.TF_DeleteFunction(pointer);
      this.status.check('Adding a function');
      this.known.push(name);
    }
  }

  private removeIfDone(): void {
    if (!this.disposed || this.uses > 0) return;
    this.making?.return([]);
    this.making = null;
    for (const name of this.known.toReversed())
      this.library.TFE_ContextRemoveFunction(this.context, name, this.status.pointer);
    this.known = [];
  }
}
