import { setTimeout as sleep } from 'node:timers/promises';

/** Runs a limited number of tasks at once, and can pause or stop all of them. */
export interface RequestQueue {
  /** Aborted when the queue is stopped. */
  readonly signal: AbortSignal;
  /** Runs a task when one of the places is free. Tasks start in the order of the calls. */
  run<T>(task: () => Promise<T>): Promise<T>;
  /** Lets no request start for so many seconds, as the server asks. */
  pause(seconds: number): void;
  /** Waits until no pause is left. Rejects if the queue is stopped. */
  ready(): Promise<void>;
  /** Ends all pauses and rejects all tasks that have not started. */
  stop(): void;
}

/** Creates a queue that runs at most `places` tasks at once. */
export function createRequestQueue(places: number): RequestQueue {
  const stopped = new AbortController();
  const waiting: (() => void)[] = [];
  let running = 0;
  let pausedUntil = 0;
  const next = (): void => {
    if (running >= places) return;
    const start = waiting.shift();
    if (start === undefined) return;
    running++;
    start();
  };
  return {
    signal: stopped.signal,
    async run(task) {
      await new Promise<void>((resolve) => {
        waiting.push(resolve);
        next();
      });
      try {
        stopped.signal.throwIfAborted();
        return await task();
      } finally {
        running--;
        next();
      }
    },
    pause(seconds) {
      pausedUntil = Math.max(pausedUntil, performance.now() + seconds * 1000);
    },
    async ready() {
      for (;;) {
        stopped.signal.throwIfAborted();
        const left = pausedUntil - performance.now();
        if (left <= 0) return;
        await sleep(left, undefined, { signal: stopped.signal });
      }
    },
    stop: () => stopped.abort(new Error('The requests were stopped.')),
  };
}
