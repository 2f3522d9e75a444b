/** Signals that end a run after it has written a checkpoint. A second one ends the process at once. */
export const endingSignals = ['SIGINT', 'SIGTERM'] as const;

/** Signals after which a run writes a checkpoint and continues. */
export const savingSignals = ['SIGHUP', 'SIGUSR1'] as const;

/**
 * A signal that follows one of the same name within this time is the same: npx forwards a Ctrl-C that the terminal also
 * sends to the command itself, and schedulers send signals to every process of a job.
 */
const SAME_SIGNAL_MILLISECONDS = 250;

/** Returns a function that returns whether a signal is new: not the same one, delivered twice. */
export function newSignals(now: () => number = () => performance.now()): (signal: NodeJS.Signals) => boolean {
  const seen = new Map<NodeJS.Signals, number>();
  return (signal) => {
    const before = seen.get(signal) ?? -Infinity;
    seen.set(signal, now());
    return now() - before >= SAME_SIGNAL_MILLISECONDS;
  };
}

/** An abort signal that fires at the first Ctrl-C or SIGTERM. The second ends the process at once. */
export interface Interrupt {
  readonly signal: AbortSignal;
  /** Fires at the first signal. */
  abort(): void;
  /** Stops listening. */
  close(): void;
}

/**
 * Listens for the signals of a terminal or scheduler.
 *
 * @param onFirst called at the first signal that ends the run, to report what happens next
 * @param onSave called for a signal that saves a checkpoint; without it, these signals are left to Node.js
 */
export function listenForInterrupt(onFirst: () => void, onSave?: (signal: NodeJS.Signals) => void): Interrupt {
  const controller = new AbortController();
  const isNew = newSignals();
  const abort = (): void => {
    if (controller.signal.aborted) return;
    controller.abort();
    onFirst();
  };
  const onEnd = (signal: NodeJS.Signals): void => {
    if (!isNew(signal)) return;
    if (controller.signal.aborted) process.exit(130);
    abort();
  };
  const save = (signal: NodeJS.Signals): void => {
    if (isNew(signal)) onSave?.(signal);
  };
  for (const signal of endingSignals) process.on(signal, onEnd);
  if (onSave !== undefined) for (const signal of savingSignals) process.on(signal, save);
  return {
    signal: controller.signal,
    abort,
    close() {
      for (const signal of endingSignals) process.off(signal, onEnd);
      for (const signal of savingSignals) process.off(signal, save);
    },
  };
}
