/** A map in order of use. The caller bounds it: see {@link oldest}. */
export class LruMap<K, V> {
  private readonly items: Map<K, V>;

  constructor(entries: Iterable<readonly [K, V]> = []) {
    this.items = new Map(entries);
  }

  get size(): number {
    return this.items.size;
  }

  /** Returns the value of a key and makes it the most recently used one. */
  get(key: K): V | undefined {
    const value = this.items.get(key);
    if (value !== undefined) this.set(key, value);
    return value;
  }

  /** Sets the value of a key and makes it the most recently used one. */
  set(key: K, value: V): void {
    this.items.delete(key);
    this.items.set(key, value);
  }

  delete(key: K): boolean {
    return this.items.delete(key);
  }

  clear(): void {
    this.items.clear();
  }

  /** Returns the least recently used entry. */
  oldest(): [K, V] | undefined {
    return this.items.entries().next().value;
  }

  /** Keys from the least to the most recently used one. */
  keys(): IterableIterator<K> {
    return this.items.keys();
  }

  /** Values from the least to the most recently used one. */
  values(): IterableIterator<V> {
    return this.items.values();
  }
}
