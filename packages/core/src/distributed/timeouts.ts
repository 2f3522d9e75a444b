/** The times that the processes of a run wait for each other, in seconds. */
export interface Timeouts {
  /** Until another worker must reach the same point of the run. */
  readonly timeoutSeconds: number;
  /** Between two heartbeats. */
  readonly heartbeatSeconds: number;
  /**
   * Without a message until a worker counts as lost. It must be long, because a step may block the event loop of a
   * process.
   */
  readonly silenceSeconds: number;
}

/** Derives all timeouts from the configured one. */
export function timeoutsFor(timeoutSeconds: number): Timeouts {
  return {
    timeoutSeconds,
    heartbeatSeconds: Math.min(5, Math.max(0.2, timeoutSeconds / 20)),
    silenceSeconds: Math.min(timeoutSeconds, 300),
  };
}

export const secondsNow = (): number => performance.now() / 1000;

/**
 * Calls `check` periodically, but not if this process itself was just blocked: it must first read the messages that
 * arrived meanwhile.
 */
export function watch(everySeconds: number, check: (now: number) => void): { stop(): void } {
  let last = secondsNow();
  const timer = setInterval(() => {
    const now = secondsNow();
    const wasBlocked = now - last > 2 * everySeconds + 1;
    last = now;
    if (!wasBlocked) check(now);
  }, everySeconds * 1000);
  return { stop: () => clearInterval(timer) };
}
