/**
 * Numbers from 0 upwards under 53-bit hashes, in typed arrays: some 20 bytes an entry, where a Map takes 60 and the
 * garbage collector looks at each. Open addressing with linear probing, at most half full.
 */
export class HashMap {
  private low = new Int32Array(1 << 10);
  private high = new Int32Array(1 << 10);
  private values = new Int32Array(1 << 10).fill(-1);
  size = 0;

  /** The number under a hash, or -1. */
  get(hash: number): number {
    return this.values[this.slotOf(hash | 0, Math.floor(hash / 4294967296))] ?? -1;
  }

  /** Puts a number under a hash that has none yet; one that is there stays. */
  add(hash: number, value: number): void {
    const [low, high] = [hash | 0, Math.floor(hash / 4294967296)];
    const slot = this.slotOf(low, high);
    if (this.values[slot] !== -1) return;
    this.put(slot, low, high, value);
    if (++this.size * 2 > this.values.length) this.grow();
  }

  private slotOf(low: number, high: number): number {
    const mask = this.values.length - 1;
    let slot = (low ^ Math.imul(high, 0x9e3779b1)) & mask;
    while (this.values[slot] !== -1 && (this.low[slot] !== low || this.high[slot] !== high)) slot = (slot + 1) & mask;
    return slot;
  }

  private put(slot: number, low: number, high: number, value: number): void {
    this.low[slot] = low;
    this.high[slot] = high;
    this.values[slot] = value;
  }

  private grow(): void {
    const [low, high, values] = [this.low, this.high, this.values];
    this.low = new Int32Array(values.length * 2);
    this.high = new Int32Array(values.length * 2);
    this.values = new Int32Array(values.length * 2).fill(-1);
    values.forEach((value, index) => {
      if (value === -1) return;
      const [one, other] = [low[index] ?? 0, high[index] ?? 0];
      this.put(this.slotOf(one, other), one, other, value);
    });
  }
}

const NODE_PAGE_BITS = 15;
const NODE_PAGE = 1 << NODE_PAGE_BITS;

/**
 * Which entries stand under which of their keys: each entry has the same number of keys, one a band. 10 to 12 bytes a
 * key. The keys of all bands share one table; a band's number must be part of its keys.
 */
export class BandTable {
  private heads = new Int32Array(1 << 12).fill(-1);
  /** A key and the next place under the same head, beside one another: a look at both is one look into memory. */
  private readonly nodes: Int32Array[] = [];
  private length = 0;
  private readonly bands: number;

  constructor(bands: number) {
    this.bands = bands;
  }

  /** Adds the next entry, from 0. */
  add(keys: Uint32Array): void {
    while (this.length + this.bands > this.heads.length * 2) this.grow();
    for (let band = 0; band < this.bands; band++) {
      if (this.length === this.nodes.length * NODE_PAGE) this.nodes.push(new Int32Array(NODE_PAGE * 2));
      this.link(this.length++, (keys[band] ?? 0) | 0);
    }
  }

  /** Calls `visit` with the entries under a key, the latest first, until it says that it has enough. */
  visit(key: number, visit: (entry: number) => boolean): void {
    const wanted = key | 0;
    for (let place = this.heads[key & (this.heads.length - 1)] ?? -1; place !== -1;) {
      const page = this.nodes[place >> NODE_PAGE_BITS] as Int32Array;
      const at = (place & (NODE_PAGE - 1)) * 2;
      if (page[at] === wanted && !visit(Math.floor(place / this.bands))) return;
      place = page[at + 1] as number;
    }
  }

  private link(place: number, key: number): void {
    const page = this.nodes[place >> NODE_PAGE_BITS] as Int32Array;
    const at = (place & (NODE_PAGE - 1)) * 2;
    const slot = key & (this.heads.length - 1);
    page[at] = key;
    page[at + 1] = this.heads[slot] ?? -1;
    this.heads[slot] = place;
  }

  private grow(): void {
    this.heads = new Int32Array(this.heads.length * 2).fill(-1);
    for (let place = 0; place < this.length; place++)
      this.link(place, (this.nodes[place >> NODE_PAGE_BITS] as Int32Array)[(place & (NODE_PAGE - 1)) * 2] as number);
  }
}
