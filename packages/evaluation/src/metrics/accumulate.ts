/** Receives items one after another and then gives a result. It keeps counts and sums, not the items. */
export interface Accumulator<Item, Result = number> {
  add(item: Item): void;
  result(): Result;
}

/** A score that depends only on sums over the items. */
export interface Additive<Item, Result = number> {
  /** Returns numbers that are added up over the items: the same count for each item. */
  statistics(item: Item): readonly number[];
  /** Returns the score of the items whose statistics add up to `sums`: an empty list without items. */
  score(sums: readonly number[]): Result;
}

/** Returns the result of an accumulator for all items, in order. */
export function accumulate<Item, Result>(accumulator: Accumulator<Item, Result>, items: Iterable<Item>): Result {
  for (const item of items) accumulator.add(item);
  return accumulator.result();
}

/** Adds the statistics of one item to the sums. */
export function addTo(sums: number[], statistics: readonly number[]): void {
  for (const [index, value] of statistics.entries()) sums[index] = (sums[index] ?? 0) + value;
}

/** Returns an additive score of all items. */
export function scoreOf<Item, Result>({ statistics, score }: Additive<Item, Result>, items: Iterable<Item>): Result {
  const sums: number[] = [];
  for (const item of items) addTo(sums, statistics(item));
  return score(sums);
}

/** Returns the mean of a number of each item as an additive score; `empty` without any. Null: the item has none. */
export const meanOf = <Item>(valueOf: (item: Item) => number | null, empty = NaN): Additive<Item> => ({
  statistics: (item) => {
    const value = valueOf(item);
    return value === null ? [0, 0] : [value, 1];
  },
  score: ([sum = 0, count = 0]) => (count === 0 ? empty : sum / count),
});
