/** An abort signal that fires at the first Ctrl-C or SIGTERM. The second ends the process at once. */
export interface Interrupt {
  readonly signal: AbortSignal;
  /** Fires at the first signal. */
  abort(): void;
  /** Stops listening. */
  close(): void;
}

/** @param onFirst called at the first signal, to report what happens next */
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
