import {
  add,
  dispose,
  gather,
  keep,
  pad,
  reshape,
  tensor1d,
  tensor2d,
  tensor3d,
  tidy,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import type { KeyValueCache } from '@whetstone/core/contract';
import {
  overwriteRows,
  repeatable,
  shapesAreStatic,
  submitRecording,
  type Repeatable,
} from '@whetstone/core/ops/internal';
import type { DecoderShape } from './shape.js';

/** Where the layers of one pass store keys and values, and what they attend to. */
export interface KeyStore {
  /** Keys per row, including unused ones after those of the row, which must be masked. */
  readonly keys: number;
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
  /** Makes room for `length` more tokens in slots. Returns the number of keys that each slot contains. */
  reserve(slots: readonly number[], length: number): readonly number[];
  /** Starts a pass over slots. `positions` [slots × length] are the indices of the new keys within their slot. */
  store(slots: readonly number[], positions: Tensor1D): KeyStore;
  /**
   * Computes a pass over all slots. It is recorded once and repeated for later tokens: see `repeatable`. All calls must
   * pass the same function of the inputs.
   */
  repeat(inputs: readonly Tensor[], pass: (inputs: readonly Tensor[]) => Tensor): Tensor;
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
  private step: Repeatable | null = null;
  private pass: (inputs: readonly Tensor[]) => Tensor = ([first]) => first as Tensor;

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

  reserve(slots: readonly number[], length: number): readonly number[] {
    const starts = slots.map((slot) => this.beginning + (this.lengths[slot] ?? 0));
    const needed = Math.max(...starts) + length;
    if (needed > this.capacity) this.grow(capacityFor(needed));
    return starts;
  }

  store(slots: readonly number[], positions: Tensor1D): KeyStore {
    const { heads, headDim, capacity, memory } = this;
    const isWhole = slots.length === this.lengths.length && slots.every((slot, row) => slot === row);
    const chosen = isWhole ? null : tensor1d([...slots], 'int32');
    const firstKeys = slots.flatMap((slot) =>
      Array.from({ length: heads }, (_, head) => (slot * heads + head) * capacity),
    );
    const indices: Tensor1D = reshape(
      add(tensor3d(firstKeys, [slots.length, heads, 1], 'int32'), reshape(positions, [slots.length, 1, -1])),
      [-1],
    );
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

  repeat(inputs: readonly Tensor[], pass: (inputs: readonly Tensor[]) => Tensor): Tensor {
    // Recorded again if the number of slots or the capacity changes.
    this.pass = pass;
    this.step ??= repeatable((all) => {
      this.memory = layersOf(all.slice(inputs.length) as Tensor2D[]);
      return [this.pass(all.slice(0, inputs.length)), ...listOf(this.memory)];
    });
    const before = listOf(this.memory);
    const [result, ...after] = this.step.run([...inputs, ...before], before.length);
    this.memory = layersOf(after.map((tensor) => keep(tensor as Tensor2D)));
    dispose(before);
    return result as Tensor;
  }

  dispose(): void {
    this.step?.dispose();
    dispose(listOf(this.memory));
    this.memory = [];
  }

  private grow(capacity: number): void {
    const missing = capacity - this.capacity;
    this.rebuild((memory) => {
      const byHead: Tensor3D = reshape(memory, [-1, this.capacity, this.headDim]);
      return pad(byHead, [
        [0, 0],
        [0, missing],
        [0, 0],
      ]);
    });
    this.capacity = capacity;
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
}

/** Lists keys and values of all layers alternately. */
const listOf = (memory: readonly LayerMemory[]): Tensor2D[] => memory.flatMap(({ key, value }) => [key, value]);

/** Reverses {@link listOf}. */
const layersOf = (list: readonly Tensor2D[]): LayerMemory[] =>
  Array.from({ length: list.length / 2 }, (_, layer) => ({
    key: list[2 * layer] as Tensor2D,
    value: list[2 * layer + 1] as Tensor2D,
  }));
