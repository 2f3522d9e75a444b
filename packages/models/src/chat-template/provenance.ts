import type { Value } from './library.js';

/**
 * A stretch of a text and what it has to do with a message. Units are UTF-16, half-open. `content`: came from the
 * message (its content, tool calls, …); `role`: came from its role; `turn`: was written while a loop was at the
 * message; `generation`: stands within generation tags, while a loop was at the message (-1: at none).
 */
export interface Trace {
  readonly start: number;
  readonly end: number;
  readonly message: number;
  readonly kind: 'content' | 'role' | 'turn' | 'generation';
}

/**
 * Remembers which parts of which texts came from which message, while a template runs. Texts are marked as objects, so
 * that a variable that holds one keeps its origin; what is derived from a marked text is marked by whoever derives it.
 */
export interface Provenance {
  of(value: Value): readonly Trace[];
  set<T extends Value>(value: T, traces: readonly Trace[]): T;
}

const NOTHING: readonly Trace[] = [];

export function createProvenance(): Provenance {
  const known = new WeakMap<Value, readonly Trace[]>();
  return {
    of: (value) => known.get(value) ?? NOTHING,
    set(value, traces) {
      if (traces.length > 0) known.set(value, traces);
      return value;
    },
  };
}

export function shifted(traces: readonly Trace[], by: number): readonly Trace[] {
  return by === 0 || traces.length === 0
    ? traces
    : traces.map((trace) => ({ ...trace, start: trace.start + by, end: trace.end + by }));
}

/** The traces of a part of a marked text. */
function clipped(traces: readonly Trace[], start: number, end: number): readonly Trace[] {
  if (traces.length === 0) return traces;
  return traces.flatMap((trace) => {
    const from = Math.max(trace.start, start);
    const to = Math.min(trace.end, end);
    return from < to || (trace.start === trace.end && trace.start >= start && trace.end <= end)
      ? [{ ...trace, start: from - start, end: to - start }]
      : [];
  });
}

/**
 * All of a text marked with the origins of whatever it was made from, where the parts cannot be told apart any more.
 */
export function whole(length: number, traces: readonly Trace[]): readonly Trace[] {
  const origins = new Map<string, Trace>();
  for (const trace of traces) origins.set(`${trace.message}:${trace.kind}`, { ...trace, start: 0, end: length });
  return [...origins.values()];
}

/**
 * The traces of a text that was derived from another: cut out of it where it is a part of it, else all of it from
 * wherever that came.
 */
export function derived(result: string, source: string, traces: readonly Trace[]): readonly Trace[] {
  if (traces.length === 0 || result === source) return traces;
  if (traces.every(({ start, end }) => start === 0 && end === source.length)) return whole(result.length, traces);
  const at = source.indexOf(result);
  return at < 0 ? whole(result.length, traces) : clipped(traces, at, at + result.length);
}
