import { runCommandLine } from './command-line.js';
import { asCreateError } from './create-error.js';

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // The reader closed the pipe.
  if (error.code === 'EPIPE') process.exit(0);
  process.stderr.write(`${String(asCreateError(error, 'Standard output'))}\n`);
  process.exit(1);
});
process.stderr.on('error', () => undefined);

process.exitCode = await runCommandLine(process.argv.slice(2), {
  folder: process.cwd(),
  input: process.stdin,
  output: process.stdout,
  errors: process.stderr,
  isInteractive: process.stdin.isTTY === true && process.stdout.isTTY === true,
});
