/** How long the processes of a run wait for each other. */
export interface Timeouts {
  /** For another to come to where one is. */
  readonly timeoutSeconds: number;
  /** Between signs of life. */
  readonly heartbeatSeconds: number;
  /**
   * Without a sign of life until somebody counts as gone. A step may block a process for long, so this is no matter of
   * seconds.
   */
  readonly silenceSeconds: number;
}

/** What follows from the longest wait that a configuration allows. */
export function timeoutsFor(timeoutSeconds: number): Timeouts {
  return {
    timeoutSeconds,
    heartbeatSeconds: Math.min(5, Math.max(0.2, timeoutSeconds / 20)),
    silenceSeconds: Math.min(timeoutSeconds, 300),
  };
}

export const secondsNow = (): number => performance.now() / 1000;

/**
 * Calls `check` again and again, but not when this process itself has just been held up: what others sent meanwhile is
 * to be read first.
 */
export function watch(everySeconds: number, check: (now: number) => void): { stop(): void } {
  let last = secondsNow();
  const timer = setInterval(() => {
    const now = secondsNow();
    const heldUp = now - last > 2 * everySeconds + 1;
    last = now;
    if (!heldUp) check(now);
  }, everySeconds * 1000);
  return { stop: () => clearInterval(timer) };
}
