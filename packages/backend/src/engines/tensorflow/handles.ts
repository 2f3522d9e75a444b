import { WhetstoneError } from '@whetstone/core/contract';
import type { EngineTensor } from '../engine.js';
import type { Pointer } from './library.js';

/** A tensor that queued work makes or needs. */
interface Entry {
  /** Null until it is made. */
  handle: Pointer | null;
  failure: Error | null;
  /** How many queued pieces of work and reads still need it. */
  uses: number;
  released: boolean;
}

/**
 * Tensors of the engine: mostly TensorFlow's own handles as they are. What queued work will make is promised under a
 * negative number, which stands for it until it is released; and what queued work needs is not freed before.
 */
export class Handles {
  private readonly entries = new Map<EngineTensor, Entry>();
  private promises = 0n;

  /** @param free gives a handle back to TensorFlow */
  constructor(private readonly free: (handle: Pointer) => void) {}

  /** A tensor that is still to be made. */
  promise(): EngineTensor {
    const tensor = --this.promises;
    this.entries.set(tensor, { handle: null, failure: null, uses: 0, released: false });
    return tensor;
  }

  keep(tensor: EngineTensor, made: Pointer): void {
    this.settle(tensor, (entry) => (entry.handle = made));
  }

  break(tensor: EngineTensor, failure: Error): void {
    this.settle(tensor, (entry) => (entry.failure = failure));
  }

  isPending(tensor: EngineTensor): boolean {
    if (tensor > 0n) return false;
    const entry = this.entries.get(tensor);
    return entry !== undefined && entry.handle === null && entry.failure === null;
  }

  /** TensorFlow's handle. Throws why there is none. */
  handle(tensor: EngineTensor): Pointer {
    if (tensor > 0n) return tensor;
    const entry = this.entries.get(tensor);
    if (entry?.failure) throw entry.failure;
    if (entry === undefined || entry.handle === null)
      throw new WhetstoneError('INTERNAL', 'A tensor was used before it was made, or after it was freed.');
    return entry.handle;
  }

  use(tensor: EngineTensor): void {
    const entry = this.entries.get(tensor);
    if (entry === undefined) this.entries.set(tensor, { handle: tensor, failure: null, uses: 1, released: false });
    else entry.uses++;
  }

  used(tensor: EngineTensor): void {
    const entry = this.entries.get(tensor);
    if (entry === undefined) return;
    entry.uses--;
    this.tidy(tensor, entry);
  }

  release(tensor: EngineTensor): void {
    const entry = this.entries.get(tensor);
    if (entry === undefined) {
      if (tensor > 0n) this.free(tensor);
      return;
    }
    entry.released = true;
    this.tidy(tensor, entry);
  }

  private settle(tensor: EngineTensor, change: (entry: Entry) => void): void {
    const entry = this.entries.get(tensor);
    if (entry === undefined) return;
    change(entry);
    this.tidy(tensor, entry);
  }

  /** Forgets what nobody needs any more. */
  private tidy(tensor: EngineTensor, entry: Entry): void {
    if (entry.uses > 0) return;
    if (!entry.released) {
      // A handle of TensorFlow's stands for itself again.
      if (tensor > 0n) this.entries.delete(tensor);
      return;
    }
    if (entry.handle === null && entry.failure === null) return;
    this.entries.delete(tensor);
    if (entry.handle !== null) this.free(entry.handle);
  }
}
