import { exceeded, MAX_LENGTH } from './bounds.js';
import { shiftTraces, type Trace } from './provenance.js';

/** Collects the output of a template and its traces. */
export interface Builder {
  length(): number;
  append(text: string, traces: readonly Trace[]): void;
  trace(trace: Trace): void;
  finish(): { readonly text: string; readonly traces: readonly Trace[] };
}

/** Creates an empty builder. */
export function createBuilder(): Builder {
  let written = '';
  const traces: Trace[] = [];
  return {
    length: () => written.length,
    append(text, from) {
      if (text === '') return;
      for (const moved of shiftTraces(from, written.length)) traces.push(moved);
      written += text;
      if (written.length > MAX_LENGTH) exceeded('The text of the template is too long', MAX_LENGTH, 'characters');
    },
    trace: (trace) => void traces.push(trace),
    finish: () => ({ text: written, traces }),
  };
}
