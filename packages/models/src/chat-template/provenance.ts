import { positionOf } from './bounded-text.js';
import { countSteps, countTraces } from './bounds.js';
import { isList, isText, printed, type Value } from './values.js';

/**
 * A range of a text that relates to a message, in UTF-16 units with an exclusive end. `content`: text of the message
 * (content, tool calls and so on). `result`: a result of a tool that a message of the assistant holds. `role`: its
 * role. `turn`: output of a loop iteration over the message. `generation`: output between generation tags in such an
 * iteration; message -1 means outside of any.
 */
export interface Trace {
  readonly start: number;
  readonly end: number;
  readonly message: number;
  readonly kind: 'content' | 'result' | 'role' | 'turn' | 'generation';
}

/**
 * Records which ranges of texts came from which message while a template runs. Traces are attached to the value
 * objects, so that assigning a value to a variable preserves them. The operations that derive a text set its traces.
 */
export interface Provenance {
  of(value: Value): readonly Trace[];
  /** Sets the traces of a value and returns it. */
  set<T extends Value>(value: T, traces: readonly Trace[]): T;
  /** Returns the traces of a value and of the values in it. */
  within(value: Value): readonly Trace[];
  /** Returns the traces of the printed text of a value. */
  ofPrinted(value: Value): readonly Trace[];
  /** Sets the traces of a text that is derived from another text, and returns it. Other values have none. */
  derive(result: Value, source: Value): Value;
}

const NO_TRACES: readonly Trace[] = [];

/** Creates the record of one run of a template. */
export function createProvenance(): Provenance {
  const known = new WeakMap<Value, readonly Trace[]>();
  const of = (value: Value): readonly Trace[] => known.get(value) ?? NO_TRACES;
  const set = <T extends Value>(value: T, traces: readonly Trace[]): T => {
    if (traces.length > 0) known.set(value, traces);
    return value;
  };
  const within = (value: Value): readonly Trace[] => {
    if (!isList(value)) return of(value);
    countSteps(value.value.length);
    const found = [...of(value), ...value.value.flatMap(within)];
    countTraces(found.length);
    return found;
  };
  return {
    of,
    set,
    within,
    ofPrinted: (value) => (isText(value) ? of(value) : coverAll(printed(value).length, within(value))),
    derive: (result, source) =>
      isText(result) && isText(source) ? set(result, deriveTraces(result.value, source.value, of(source))) : result,
  };
}

/** Moves traces by a number of UTF-16 units. */
export function shiftTraces(traces: readonly Trace[], by: number): readonly Trace[] {
  countTraces(traces.length);
  return by === 0 || traces.length === 0
    ? traces
    : traces.map((trace) => ({ ...trace, start: trace.start + by, end: trace.end + by }));
}

/** Returns the traces of the slice from `start` to `end`. */
function clipTraces(traces: readonly Trace[], start: number, end: number): readonly Trace[] {
  if (traces.length === 0) return traces;
  countTraces(traces.length);
  return traces.flatMap((trace) => {
    const from = Math.max(trace.start, start);
    const to = Math.min(trace.end, end);
    return from < to || (trace.start === trace.end && trace.start >= start && trace.end <= end)
      ? [{ ...trace, start: from - start, end: to - start }]
      : [];
  });
}

/** Returns traces of the complete text for every origin. Used if the ranges of the origins are unknown. */
export function coverAll(length: number, traces: readonly Trace[]): readonly Trace[] {
  const origins = new Map<string, Trace>();
  countTraces(traces.length);
  for (const trace of traces) origins.set(`${trace.message}:${trace.kind}`, { ...trace, start: 0, end: length });
  return [...origins.values()];
}

/**
 * Returns the traces of a text derived from `source`: exact if it is a slice of the source, else of the complete text.
 */
function deriveTraces(result: string, source: string, traces: readonly Trace[]): readonly Trace[] {
  if (traces.length === 0 || result === source) return traces;
  if (traces.every(({ start, end }) => start === 0 && end === source.length)) return coverAll(result.length, traces);
  const at = positionOf(source, result);
  return at < 0 ? coverAll(result.length, traces) : clipTraces(traces, at, at + result.length);
}
