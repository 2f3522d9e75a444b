import { formatError, WhetstoneError } from '../contract/index.js';
import { messageOf } from '../util/index.js';
import { fileError } from './errors.js';

let continues = false;

/**
 * Ends the process if its output cannot be written: without an error if the reader closed the pipe, as in
 * `whetstone plugins | head`; otherwise, as on a full disk, with an error that has a code. Errors of standard error are
 * ignored: there is nothing to report them to.
 */
export function exitOnOutputError(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (continues) return;
    if (error.code === 'EPIPE') process.exit(0);
    process.stderr.write(`${formatError(outputError(error))}\n`);
    process.exit(1);
  });
  process.stderr.on('error', () => undefined);
}

function outputError(cause: Error): WhetstoneError {
  const { code } = fileError(cause, undefined);
  return new WhetstoneError(
    code === 'FILE_UNREADABLE' ? 'FILE_UNWRITABLE' : code,
    `Standard output cannot be written: ${messageOf(cause)}`,
    { hint: 'Check the file or device that it is redirected to.', cause },
  );
}

/** Continues from now on without output if its reader is gone, as a terminal that was closed. */
export function continueWithoutOutput(): void {
  continues = true;
}
