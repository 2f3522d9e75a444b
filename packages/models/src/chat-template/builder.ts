import { shiftTraces, type Trace } from './provenance.js';

/** Collects the output of a template and its traces. */
export interface Builder {
  length(): number;
  append(text: string, traces: readonly Trace[]): void;
  trace(trace: Trace): void;
  finish(): { readonly text: string; readonly traces: readonly Trace[] };
}

/** Maximum length of a rendered conversation in UTF-16 units: larger than any context, small enough for memory. */
export const MAX_UNITS = 64_000_000;

/** Creates an empty builder. */
export function createBuilder(): Builder {
  let written = '';
  const traces: Trace[] = [];
  return {
    length: () => written.length,
    append(text, from) {
      if (text === '') return;
      if (from.length > 0) traces.push(...shiftTraces(from, written.length));
      written += text;
      if (written.length > MAX_UNITS)
        throw new Error(`the template does not terminate: stopped after ${MAX_UNITS} characters`);
    },
    trace: (trace) => void traces.push(trace),
    finish: () => ({ text: written, traces }),
  };
}
