import type { Pjrt, Pointer } from './pjrt.js';

/** What has to be waited for and destroyed. */
export type Event = Pointer;

/** Waits for an event and forgets it. */
export function finish(pjrt: Pjrt, event: Event): void {
  try {
    pjrt.call('PJRT_Event_Await', [event], 'An operation');
  } finally {
    forget(pjrt, event);
  }
}

/** The same on another thread. */
export async function finishLater(pjrt: Pjrt, event: Event): Promise<void> {
  try {
    await pjrt.callLater('PJRT_Event_Await', [event], 'An operation');
  } finally {
    forget(pjrt, event);
  }
}

export function isReady(pjrt: Pjrt, event: Event): boolean {
  return ((pjrt.call('PJRT_Event_IsReady', [event])[1] ?? 0n) & 1n) === 1n;
}

export function forget(pjrt: Pjrt, event: Event): void {
  pjrt.call('PJRT_Event_Destroy', [event]);
}
