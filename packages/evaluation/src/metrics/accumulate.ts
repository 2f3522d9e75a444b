/** Receives items one after another and then gives a result. It keeps counts and sums, not the items. */
export interface Accumulator<Item, Result = number> {
  add(item: Item): void;
  result(): Result;
}

/** Returns the result of an accumulator for all items, in order. */
export function accumulate<Item, Result>(accumulator: Accumulator<Item, Result>, items: Iterable<Item>): Result {
  for (const item of items) accumulator.add(item);
  return accumulator.result();
}

/** Accumulates the mean of numbers; `empty` without any. */
export function createMean(empty: number): Accumulator<number> {
  let sum = 0;
  let count = 0;
  return {
    add: (value) => {
      sum += value;
      count++;
    },
    result: () => (count === 0 ? empty : sum / count),
  };
}
