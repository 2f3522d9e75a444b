import type { EventHub } from '../events.js';

/** Follows the steps of a run. Returns functions for the last completed step, or null, and for the end. */
export function followSteps(events: EventHub): { lastStep(): number | null; end(): void } {
  let last: number | null = null;
  const follow = ({ step }: { readonly step: number }): void => {
    last = step;
  };
  events.on('step', follow);
  return { lastStep: () => last, end: () => events.off('step', follow) };
}
