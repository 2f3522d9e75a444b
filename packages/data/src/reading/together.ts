/** What comes, some at a time. Where the rest cannot be had, what came before it goes first. */
export async function* together<T>(all: AsyncIterable<T> | Iterable<T>, count: number): AsyncGenerator<T[]> {
  let waiting: T[] = [];
  try {
    for await (const one of all) {
      if (waiting.push(one) < count) continue;
      yield waiting;
      waiting = [];
    }
  } catch (error) {
    if (waiting.length > 0) yield waiting;
    throw error;
  }
  if (waiting.length > 0) yield waiting;
}
