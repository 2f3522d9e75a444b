let continues = false;

/** Ends the process without an error if the reader of its output closes the pipe, as in `whetstone plugins | head`. */
export function exitOnClosedPipe(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (continues) return;
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

/** Continues from now on without output if its reader is gone, as a terminal that was closed. */
export function continueWithoutOutput(): void {
  if (!continues) process.stderr.on('error', () => undefined);
  continues = true;
}
