const PAGE_BITS = 16;
const PAGE = 1 << PAGE_BITS;

/** A list of 32-bit integers that grows by pages, without copying, so that growing needs no additional memory. */
export class GrowingInts {
  private readonly pages: Int32Array[] = [];
  length = 0;

  push(value: number): void {
    if (this.length === this.pages.length * PAGE) this.pages.push(new Int32Array(PAGE));
    (this.pages[this.length >> PAGE_BITS] as Int32Array)[this.length & (PAGE - 1)] = value;
    this.length++;
  }

  at(index: number): number {
    return this.pages[index >> PAGE_BITS]?.[index & (PAGE - 1)] ?? 0;
  }

  set(index: number, value: number): void {
    const page = this.pages[index >> PAGE_BITS];
    if (page) page[index & (PAGE - 1)] = value;
  }

  /** Returns a copy of the list. */
  values(): Int32Array {
    const all = new Int32Array(this.length);
    this.pages.forEach((page, index) =>
      all.set(page.subarray(0, Math.min(PAGE, this.length - index * PAGE)), index * PAGE),
    );
    return all;
  }
}
