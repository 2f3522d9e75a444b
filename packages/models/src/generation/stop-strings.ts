/** Text as it may be shown: nothing of a stop text, and nothing that could still become one. */
export interface StopWatch {
  /** Takes more text; returns what may be shown, and whether a stop text has come. */
  push(text: string): { readonly text: string; readonly stopped: boolean };
  /** The text that was held back, when no more comes. */
  finish(): string;
}

/** Watches for the first of several stop texts in a stream. */
export function watchForStops(stops: readonly string[]): StopWatch {
  const texts = stops.filter((stop) => stop !== '');
  let held = '';
  return {
    push(text) {
      held += text;
      const found = texts.map((stop) => held.indexOf(stop)).filter((index) => index >= 0);
      if (found.length > 0) {
        const shown = held.slice(0, Math.min(...found));
        held = '';
        return { text: shown, stopped: true };
      }
      const keep = Math.max(0, ...texts.map((stop) => overlap(held, stop)));
      const shown = held.slice(0, held.length - keep);
      held = held.slice(held.length - keep);
      return { text: shown, stopped: false };
    },
    finish() {
      const rest = held;
      held = '';
      return rest;
    },
  };
}

/** Length of the longest end of `text` with which `stop` begins. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length;
  }
  return 0;
}
