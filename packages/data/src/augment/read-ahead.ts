/** Conversations that are read before they are needed. */
const READ_AHEAD = 10_000;

/**
 * Yields a sequence and reads up to `limit` elements ahead. Calls `ended` with the number of elements when the end has
 * been read, which is before the first element is yielded if the sequence is not longer than `limit`.
 */
export async function* readAhead<T>(
  values: AsyncIterable<T>,
  ended: (count: number) => void,
  limit = READ_AHEAD,
): AsyncGenerator<T> {
  const iterator = values[Symbol.asyncIterator]();
  const state = { isAtEnd: false, count: 0 };
  const nextBlock = async (): Promise<readonly T[]> => {
    const block: T[] = [];
    while (block.length < limit) {
      const next = await iterator.next();
      if (next.done === true) {
        state.isAtEnd = true;
        ended(state.count);
        break;
      }
      state.count++;
      block.push(next.value);
    }
    return block;
  };
  try {
    while (!state.isAtEnd) yield* await nextBlock();
  } finally {
    if (!state.isAtEnd) await iterator.return?.();
  }
}
