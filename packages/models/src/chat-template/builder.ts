import { shifted, type Trace } from './provenance.js';

/** Gathers what a template writes, and where each part came from. */
export interface Builder {
  length(): number;
  append(text: string, traces: readonly Trace[]): void;
  trace(trace: Trace): void;
  finish(): { readonly text: string; readonly traces: readonly Trace[] };
}

/**
 * UTF-16 units that a rendered conversation may have at most: far beyond any context, far below what fills the memory.
 */
export const MOST_UNITS = 64_000_000;

export function createBuilder(): Builder {
  let written = '';
  const traces: Trace[] = [];
  return {
    length: () => written.length,
    append(text, from) {
      if (text === '') return;
      if (from.length > 0) traces.push(...shifted(from, written.length));
      written += text;
      if (written.length > MOST_UNITS)
        throw new Error(`the template does not come to an end: stopped after ${MOST_UNITS} characters`);
    },
    trace: (trace) => void traces.push(trace),
    finish: () => ({ text: written, traces }),
  };
}
