import {
  dispose,
  gather,
  keep,
  pad,
  reshape,
  tensor1d,
  tensor2d,
  tidy,
  type Tensor2D,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import type { KeyValueCache } from '@whetstone/core/contract';
import { overwriteRows, shapesAreStatic, submitRecording } from '@whetstone/core/ops/internal';
import type { DecoderShape } from './shape.js';

/** Where the layers of one pass store keys and values, and what they attend to. */
export interface KeyStore {
  /** Keys per row, including unused ones after those of the row, which must be masked. */
  readonly keys: number;
  /** The number of keys of each row before the pass. */
  readonly starts: readonly number[];
  /**
   * Stores keys and values [rows, kvHeads, length, headDim] of a layer. Returns all of the rows, [rows, kvHeads, keys,
   * headDim].
   */
  append(layer: number, key: Tensor4D, value: Tensor4D): { readonly key: Tensor4D; readonly value: Tensor4D };
}

/**
 * Keys and values of every layer in memory of a fixed capacity, [slots × kvHeads × capacity, headDim]. New keys
 * overwrite unused ones in place. The memory grows by {@link STEP} keys if a slot is full.
 */
export interface DecoderCache extends KeyValueCache {
  /** Starts a pass over one row for each of `slots`, with room for `length` more tokens in each. */
  store(slots: readonly number[], length: number): KeyStore;
  /** Records that a slot contains `count` more tokens. */
  advance(slot: number, count: number): void;
  /** Makes everything in the only slot the beginning of each slot, which does not count as tokens. */
  freezeBeginning(): void;
}

type LayerMemory = { readonly key: Tensor2D; readonly value: Tensor2D };

const STEP = 64;

/** If each capacity is compiled, it doubles: few shapes, and at most half is unused. */
const capacityFor = (count: number): number =>
  STEP * (shapesAreStatic() ? 2 ** Math.ceil(Math.log2(Math.max(1, count / STEP))) : Math.ceil(count / STEP));

/** Creates a cache with one empty slot. */
export function createKeyValueCache(
  shape: Pick<DecoderShape, 'keyValueHeads' | 'headDim'> & { readonly layers: ArrayLike<unknown> },
): DecoderCache {
  return new SlotCache(shape.layers.length, shape.keyValueHeads, shape.headDim);
}

class SlotCache implements DecoderCache {
  lengths: number[] = [0];
  readonly bytesPerToken: number;
  private capacity = STEP;
  /** The number of keys at the beginning of each slot that are not tokens of its sequence. */
  private beginning = 0;
  private memory: LayerMemory[];

  constructor(
    layers: number,
    private readonly heads: number,
    private readonly headDim: number,
  ) {
    this.bytesPerToken = 2 * layers * heads * headDim * Float32Array.BYTES_PER_ELEMENT;
    // Uploaded: equal fill operations of one graph would share their memory.
    const unused = (): Tensor2D => keep(tensor2d(new Float32Array(heads * STEP * headDim), [heads * STEP, headDim]));
    this.memory = Array.from({ length: layers }, () => ({ key: unused(), value: unused() }));
  }

  store(slots: readonly number[], length: number): KeyStore {
    const starts = slots.map((slot) => this.beginning + (this.lengths[slot] ?? 0));
    this.reserve(Math.max(...starts) + length);
    const { heads, headDim, capacity, memory } = this;
    const isWhole = slots.length === this.lengths.length && slots.every((slot, row) => slot === row);
    const chosen = isWhole ? null : tensor1d([...slots], 'int32');
    const indices = tensor1d(this.indicesOf(slots, starts, length), 'int32');
    const write = (before: Tensor2D, added: Tensor4D): Tensor2D => {
      const after = keep(overwriteRows(before, indices, reshape(added, [-1, headDim])));
      before.dispose();
      return after;
    };
    const rowsOf = (all: Tensor2D): Tensor4D => {
      const bySlot: Tensor2D = reshape(all, [-1, heads * capacity * headDim]);
      return reshape(chosen === null ? bySlot : gather(bySlot, chosen), [slots.length, heads, capacity, headDim]);
    };
    return {
      keys: capacity,
      starts,
      append(layer, key, value) {
        const before = memory[layer] as LayerMemory;
        const after = { key: write(before.key, key), value: write(before.value, value) };
        memory[layer] = after;
        return { key: rowsOf(after.key), value: rowsOf(after.value) };
      },
    };
  }

  advance(slot: number, count: number): void {
    this.lengths[slot] = (this.lengths[slot] ?? 0) + count;
  }

  truncate(slot: number, length: number): void {
    this.lengths[slot] = Math.min(length, this.lengths[slot] ?? 0);
  }

  freezeBeginning(): void {
    this.beginning = this.lengths[0] ?? 0;
    this.lengths = [0];
  }

  select(sources: readonly number[]): void {
    const slots = this.lengths.length;
    if (sources.length === slots && sources.every((source, slot) => source === slot)) return;
    this.rebuild((memory) => {
      const bySlot: Tensor2D = reshape(memory, [slots, -1]);
      return gather(bySlot, tensor1d([...sources], 'int32'));
    });
    this.lengths = sources.map((source) => this.lengths[source] ?? 0);
  }

  dispose(): void {
    for (const { key, value } of this.memory) dispose([key, value]);
    this.memory = [];
  }

  /** Makes room for `count` keys in each slot. */
  private reserve(count: number): void {
    if (count <= this.capacity) return;
    const grown = capacityFor(count);
    const missing = grown - this.capacity;
    this.rebuild((memory) => {
      const byHead: Tensor3D = reshape(memory, [-1, this.capacity, this.headDim]);
      return pad(byHead, [
        [0, 0],
        [0, missing],
        [0, 0],
      ]);
    });
    this.capacity = grown;
  }

  /** Replaces the memory of every layer, as a graph of its own. */
  private rebuild(change: (memory: Tensor2D) => Tensor2D | Tensor3D): void {
    const replace = (before: Tensor2D): Tensor2D => {
      const after = keep(tidy((): Tensor2D => reshape(change(before), [-1, this.headDim])));
      before.dispose();
      return after;
    };
    submitRecording();
    this.memory = this.memory.map(({ key, value }) => ({ key: replace(key), value: replace(value) }));
    submitRecording();
  }

  /** Returns the rows of the memory that a pass writes, [rows × kvHeads × length]. */
  private indicesOf(slots: readonly number[], starts: readonly number[], length: number): Int32Array {
    const { heads, capacity } = this;
    const indices = new Int32Array(slots.length * heads * length);
    let at = 0;
    for (const [row, slot] of slots.entries())
      for (let head = 0; head < heads; head++)
        for (let column = 0; column < length; column++)
          indices[at++] = (slot * heads + head) * capacity + (starts[row] ?? 0) + column;
    return indices;
  }
}
