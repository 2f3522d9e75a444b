import type { Pjrt, Pointer } from './pjrt.js';

/** A PJRT event. It must be destroyed. */
export type Event = Pointer;

/** Waits for an event and destroys it. */
export function finish(pjrt: Pjrt, event: Event): void {
  try {
    pjrt.call('PJRT_Event_Await', [event], 'An operation');
  } finally {
    destroy(pjrt, event);
  }
}

/** Like `finish`, without blocking the event loop. */
export async function finishLater(pjrt: Pjrt, event: Event): Promise<void> {
  try {
    await pjrt.callLater('PJRT_Event_Await', [event], 'An operation');
  } finally {
    destroy(pjrt, event);
  }
}

export function isReady(pjrt: Pjrt, event: Event): boolean {
  return ((pjrt.call('PJRT_Event_IsReady', [event])[1] ?? 0n) & 1n) === 1n;
}

export function destroy(pjrt: Pjrt, event: Event): void {
  pjrt.call('PJRT_Event_Destroy', [event]);
}
