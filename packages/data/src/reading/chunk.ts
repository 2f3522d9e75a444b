/** Groups items into arrays of `size`. If the input throws, the items before the error are yielded first. */
export async function* chunk<T>(items: AsyncIterable<T> | Iterable<T>, size: number): AsyncGenerator<T[]> {
  let waiting: T[] = [];
  try {
    for await (const item of items) {
      if (waiting.push(item) < size) continue;
      yield waiting;
      waiting = [];
    }
  } catch (error) {
    if (waiting.length > 0) yield waiting;
    throw error;
  }
  if (waiting.length > 0) yield waiting;
}
