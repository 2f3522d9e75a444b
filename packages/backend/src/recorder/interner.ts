/** Returns a function that numbers items from 1 on. Equal items get the same number. */
export function createInterner<T>(): (item: T) => number {
  const numbers = new Map<T, number>();
  return (item) => {
    let number = numbers.get(item);
    if (number === undefined) numbers.set(item, (number = numbers.size + 1));
    return number;
  };
}
