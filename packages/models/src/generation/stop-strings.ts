/** Removes stop strings from a stream of text. Text that could be the beginning of a stop string is held back. */
export interface StopDetector {
  /** Adds text. Returns the text that may be shown, and whether a stop string occurred. */
  push(text: string): { readonly text: string; readonly stopped: boolean };
  /** Returns the text that was held back, at the end of the stream. */
  finish(): string;
}

/** Creates a detector of the first occurrence of any of `stops`. */
export function createStopDetector(stops: readonly string[]): StopDetector {
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
      const kept = Math.max(0, ...texts.map((stop) => overlap(held, stop)));
      const shown = held.slice(0, held.length - kept);
      held = held.slice(held.length - kept);
      return { text: shown, stopped: false };
    },
    finish() {
      const rest = held;
      held = '';
      return rest;
    },
  };
}

/** Returns the length of the longest suffix of `text` that is a proper prefix of `stop`. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length;
  }
  return 0;
}
