/** Numbers things as they come, from 1 on: equal things have one number. */
export function numbering<T>(): (thing: T) => number {
  const numbers = new Map<T, number>();
  return (thing) => {
    let number = numbers.get(thing);
    if (number === undefined) numbers.set(thing, (number = numbers.size + 1));
    return number;
  };
}
