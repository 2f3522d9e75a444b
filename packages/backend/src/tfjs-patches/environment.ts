// Environment variables that native libraries read. They apply to the complete process.

/** Makes TensorFlow and XLA print errors only, unless the user set another level. Call before loading a library. */
export function printErrorsOnly(): void {
  process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '2';
}

/** Gives each TensorFlow context its own threads. Otherwise all contexts share the threads of the first one. */
export function separateThreadPools(): void {
  process.env['TF_OVERRIDE_GLOBAL_THREADPOOL'] ??= '1';
}

/** Sets the flags that XLA reads when its plugin is loaded. */
export function setXlaFlags(flags: string): void {
  process.env['XLA_FLAGS'] = flags;
}

/** Creates an XLA client with a number of threads. XLA's CPU client reads it from the environment at creation. */
export function withXlaThreads<R>(threads: number | undefined, create: () => R): R {
  if (threads === undefined) return create();
  const before = process.env['PJRT_NPROC'];
  process.env['PJRT_NPROC'] = String(Math.max(1, Math.trunc(threads)));
  try {
    return create();
  } finally {
    if (before === undefined) delete process.env['PJRT_NPROC'];
    else process.env['PJRT_NPROC'] = before;
  }
}
