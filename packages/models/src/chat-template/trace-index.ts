import type { TextSpan } from '@whetstone/core/contract';
import { countItems } from './bounds.js';
import type { Trace } from './provenance.js';

/** Finds traces by message and by range, in time proportional to the number of results. */
export interface TraceIndex {
  /** Returns the traces of a message in the order of their creation; message -1 means no message. */
  of(message: number): readonly Trace[];
  /** Returns the traces within a span, sorted by their start. */
  within(span: TextSpan): readonly Trace[];
}

/** Returns the index of the first item that starts at or after `start`. Items must be sorted by `start`. */
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

/** Creates an index of traces. */
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
        countItems(1);
        const trace = sorted[index] as Trace;
        if (trace.start > end) break;
        if (trace.end <= end) found.push(trace);
      }
      return found;
    },
  };
}
