import type { TextSpan } from '@whetstone/core/contract';
import type { Trace } from './provenance.js';

/**
 * Finds traces by their message and by their place, so that long conversations take time in proportion to their length.
 */
export interface TraceIndex {
  /** The traces of one message, in the order in which they were written; -1 for those of none. */
  of(message: number): readonly Trace[];
  /** The traces that lie within a span, by where they start. */
  within(span: TextSpan): readonly Trace[];
}

/** The index of the first of `items`, sorted by `start`, that starts at `start` or after it. */
export function firstFrom(items: readonly { readonly start: number }[], start: number): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((items[middle]?.start ?? 0) < start) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function indexTraces(traces: readonly Trace[]): TraceIndex {
  const byMessage = new Map<number, Trace[]>();
  for (const trace of traces) {
    const others = byMessage.get(trace.message);
    if (others) others.push(trace);
    else byMessage.set(trace.message, [trace]);
  }
  const sorted = [...traces].sort((a, b) => a.start - b.start);
  return {
    of: (message) => byMessage.get(message) ?? [],
    within({ start, end }) {
      const found: Trace[] = [];
      for (let index = firstFrom(sorted, start); index < sorted.length; index++) {
        const trace = sorted[index] as Trace;
        if (trace.start > end) break;
        if (trace.end <= end) found.push(trace);
      }
      return found;
    },
  };
}
