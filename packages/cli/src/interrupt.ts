/** An abort signal that the first Ctrl-C (or SIGTERM) sets off; the second ends the process at once. */
export interface Interrupt {
  readonly signal: AbortSignal;
  /** The same as a signal. */
  abort(): void;
  /** Stops listening. */
  close(): void;
}

/** @param onFirst told when the first one comes, to say what happens now */
export function listenForInterrupt(onFirst: () => void): Interrupt {
  const controller = new AbortController();
  const listener = (): void => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
    onFirst();
  };
  process.on('SIGINT', listener);
  process.on('SIGTERM', listener);
  return {
    signal: controller.signal,
    abort: () => {
      if (!controller.signal.aborted) listener();
    },
    close() {
      process.off('SIGINT', listener);
      process.off('SIGTERM', listener);
    },
  };
}
