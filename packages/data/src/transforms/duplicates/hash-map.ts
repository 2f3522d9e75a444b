/**
 * A map from 53-bit hashes to non-negative integers, in typed arrays. An entry takes about 20 bytes, compared with 60
 * in a Map, and causes no garbage collection. Uses open addressing with linear probing; at most half of the slots are
 * used.
 */
export class HashMap {
  private low = new Int32Array(1 << 10);
  private high = new Int32Array(1 << 10);
  private values = new Int32Array(1 << 10).fill(-1);
  size = 0;

  /** Returns the value of a hash, or -1. */
  get(hash: number): number {
    return this.values[this.slotOf(hash | 0, Math.floor(hash / 4294967296))] ?? -1;
  }

  /** Sets the value of a hash, unless it has one. */
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
 * An index of entries by keys. Each entry has one key per band; a key takes 10 to 12 bytes. All bands share one table,
 * so that keys must include the number of the band.
 */
export class BandTable {
  private heads = new Int32Array(1 << 12).fill(-1);
  /** Pairs of a key and the next node of the same head, adjacent so that one memory access reads both. */
  private readonly nodes: Int32Array[] = [];
  private length = 0;
  private readonly bands: number;

  constructor(bands: number) {
    this.bands = bands;
  }

  /** Adds an entry under the next number, from 0. */
  add(keys: Uint32Array): void {
    while (this.length + this.bands > this.heads.length * 2) this.grow();
    for (let band = 0; band < this.bands; band++) {
      if (this.length === this.nodes.length * NODE_PAGE) this.nodes.push(new Int32Array(NODE_PAGE * 2));
      this.link(this.length++, (keys[band] ?? 0) | 0);
    }
  }

  /** Calls `visit` with the entries of a key, the latest first, until it returns false. */
  visit(key: number, visit: (entry: number) => boolean): void {
    const signedKey = key | 0;
    for (let node = this.heads[key & (this.heads.length - 1)] ?? -1; node !== -1;) {
      const page = this.nodes[node >> NODE_PAGE_BITS] as Int32Array;
      const at = (node & (NODE_PAGE - 1)) * 2;
      if (page[at] === signedKey && !visit(Math.floor(node / this.bands))) return;
      node = page[at + 1] as number;
    }
  }

  private link(node: number, key: number): void {
    const page = this.nodes[node >> NODE_PAGE_BITS] as Int32Array;
    const at = (node & (NODE_PAGE - 1)) * 2;
    const slot = key & (this.heads.length - 1);
    page[at] = key;
    page[at + 1] = this.heads[slot] ?? -1;
    this.heads[slot] = node;
  }

  private grow(): void {
    this.heads = new Int32Array(this.heads.length * 2).fill(-1);
    for (let node = 0; node < this.length; node++)
      this.link(node, (this.nodes[node >> NODE_PAGE_BITS] as Int32Array)[(node & (NODE_PAGE - 1)) * 2] as number);
  }
}
