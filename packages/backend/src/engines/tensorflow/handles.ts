import { WhetstoneError } from '@whetstone/core/contract';
import type { EngineTensor } from '../engine.js';
import type { Pointer } from './library.js';

/** The state of a tensor that queued work computes or needs. */
interface Entry {
  /** Null until it is computed. */
  handle: Pointer | null;
  failure: Error | null;
  /** Number of queued work items and reads that still need it. */
  uses: number;
  released: boolean;
}

/**
 * The engine's tensors. Most are TensorFlow's own handles, unchanged. A result of queued work gets a negative number
 * that identifies it until it is released. A tensor that queued work needs is freed only after that work.
 */
export class Handles {
  private readonly entries = new Map<EngineTensor, Entry>();
  private promises = 0n;

  /** @param free deletes a TensorFlow handle */
  constructor(private readonly free: (handle: Pointer) => void) {}

  /** Returns a tensor that queued work will compute. */
  promise(): EngineTensor {
    const tensor = --this.promises;
    this.entries.set(tensor, { handle: null, failure: null, uses: 0, released: false });
    return tensor;
  }

  resolve(tensor: EngineTensor, handle: Pointer): void {
    this.settle(tensor, (entry) => (entry.handle = handle));
  }

  reject(tensor: EngineTensor, failure: Error): void {
    this.settle(tensor, (entry) => (entry.failure = failure));
  }

  isPending(tensor: EngineTensor): boolean {
    if (tensor > 0n) return false;
    const entry = this.entries.get(tensor);
    return entry !== undefined && entry.handle === null && entry.failure === null;
  }

  /**
   * Returns TensorFlow's handle.
   *
   * @throws the error of the work that should have computed the tensor
   * @throws `INTERNAL` if the tensor is still pending or was released
   */
  handle(tensor: EngineTensor): Pointer {
    if (tensor > 0n) return tensor;
    const entry = this.entries.get(tensor);
    if (entry?.failure) throw entry.failure;
    if (entry === undefined || entry.handle === null)
      throw new WhetstoneError('INTERNAL', 'A tensor was used before it was computed, or after it was released.');
    return entry.handle;
  }

  /** Registers a user of the tensor: it is not freed before `endUse`. */
  use(tensor: EngineTensor): void {
    const entry = this.entries.get(tensor);
    if (entry === undefined) this.entries.set(tensor, { handle: tensor, failure: null, uses: 1, released: false });
    else entry.uses++;
  }

  endUse(tensor: EngineTensor): void {
    const entry = this.entries.get(tensor);
    if (entry === undefined) return;
    entry.uses--;
    this.removeIfUnused(tensor, entry);
  }

  release(tensor: EngineTensor): void {
    const entry = this.entries.get(tensor);
    if (entry === undefined) {
      if (tensor > 0n) this.free(tensor);
      return;
    }
    entry.released = true;
    this.removeIfUnused(tensor, entry);
  }

  private settle(tensor: EngineTensor, change: (entry: Entry) => void): void {
    const entry = this.entries.get(tensor);
    if (entry === undefined) return;
    change(entry);
    this.removeIfUnused(tensor, entry);
  }

  /** Removes the entry if it is no longer needed, and frees the tensor if it was released. */
  private removeIfUnused(tensor: EngineTensor, entry: Entry): void {
    if (entry.uses > 0) return;
    if (!entry.released) {
      // A TensorFlow handle needs no entry once nothing queued uses it.
      if (tensor > 0n) this.entries.delete(tensor);
      return;
    }
    if (entry.handle === null && entry.failure === null) return;
    this.entries.delete(tensor);
    if (entry.handle !== null) this.free(entry.handle);
  }
}
