import { GrowingInts } from '../../batching/growing-ints.js';

/**
 * Numbers from 0 upwards under 53-bit hashes, in typed arrays: some 20 bytes an entry, where a Map takes 60 and the garbage collector looks at each.
 * Open addressing with linear probing, at most half full.
 */
export class HashMap {
  #low = new Int32Array(1 << 10);
  #high = new Int32Array(1 << 10);
  #values = new Int32Array(1 << 10).fill(-1);
  size = 0;

  /** The number under a hash, or -1. */
  get(hash: number): number {
    return this.#values[this.#slotOf(hash | 0, Math.floor(hash / 4294967296))] ?? -1;
  }

  /** Puts a number under a hash that has none yet; one that is there stays. */
  add(hash: number, value: number): void {
    const [low, high] = [hash | 0, Math.floor(hash / 4294967296)];
    const slot = this.#slotOf(low, high);
    if (this.#values[slot] !== -1) return;
    this.#put(slot, low, high, value);
    if (++this.size * 2 > this.#values.length) this.#grow();
  }

  #slotOf(low: number, high: number): number {
    const mask = this.#values.length - 1;
    let slot = (low ^ Math.imul(high, 0x9e3779b1)) & mask;
    while (this.#values[slot] !== -1 && (this.#low[slot] !== low || this.#high[slot] !== high)) slot = (slot + 1) & mask;
    return slot;
  }

  #put(slot: number, low: number, high: number, value: number): void {
    this.#low[slot] = low;
    this.#high[slot] = high;
    this.#values[slot] = value;
  }

  #grow(): void {
    const [low, high, values] = [this.#low, this.#high, this.#values];
    this.#low = new Int32Array(values.length * 2);
    this.#high = new Int32Array(values.length * 2);
    this.#values = new Int32Array(values.length * 2).fill(-1);
    values.forEach((value, index) => {
      if (value === -1) return;
      const [one, other] = [low[index] ?? 0, high[index] ?? 0];
      this.#put(this.#slotOf(one, other), one, other, value);
    });
  }
}

/**
 * Which entries stand under which of their keys: each entry has the same number of keys, one a band. 12 to 16 bytes a key. The keys of all bands share one
 * table; a band's number must be part of its keys.
 */
export class BandTable {
  #heads = new Int32Array(1 << 12).fill(-1);
  readonly #keys = new GrowingInts();
  readonly #next = new GrowingInts();
  readonly #bands: number;

  constructor(bands: number) {
    this.#bands = bands;
  }

  /** Adds the next entry, from 0. */
  add(keys: Uint32Array): void {
    while (this.#keys.length + this.#bands > this.#heads.length) this.#grow();
    for (let band = 0; band < this.#bands; band++) {
      this.#keys.push((keys[band] ?? 0) | 0);
      this.#next.push(-1);
      this.#link(this.#keys.length - 1);
    }
  }

  /** Calls `visit` with the entries under a key, the latest first, until it says that it has enough. */
  visit(key: number, visit: (entry: number) => boolean): void {
    const wanted = key | 0;
    for (let place = this.#heads[key & (this.#heads.length - 1)] ?? -1; place !== -1; place = this.#next.at(place)) {
      if (this.#keys.at(place) === wanted && !visit(Math.floor(place / this.#bands))) return;
    }
  }

  #link(place: number): void {
    const slot = this.#keys.at(place) & (this.#heads.length - 1);
    this.#next.set(place, this.#heads[slot] ?? -1);
    this.#heads[slot] = place;
  }

  #grow(): void {
    this.#heads = new Int32Array(this.#heads.length * 2).fill(-1);
    for (let place = 0; place < this.#keys.length; place++) this.#link(place);
  }
}
