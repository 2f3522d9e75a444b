import { spawn } from 'node:child_process';
import { WhetstoneError, type ReplySample } from '@whetstone/core/contract';

/** A user's program that checks replies, and its limits. */
export interface CheckerOptions {
  /** The program and its parameters. It is started without a shell. */
  readonly command: readonly [string, ...string[]];
  /** What it reads from its standard input: the reply, or a JSON object with the whole sample. */
  readonly input: 'reply' | 'sample';
  readonly timeoutSeconds: number;
  /** Most bytes that it may write to standard output and standard error together. */
  readonly maxOutputBytes: number;
  /** Most memory of the process in bytes; not limited on Windows. */
  readonly maxMemoryBytes: number;
  /** Folder in which it is started. */
  readonly folder: string;
}

/** How a check ended: `stopped` if it exceeded a limit. */
export type CheckOutcome = 'passed' | 'failed' | 'stopped';

/** Returns the command with a limit of its address space, which a shell sets before it becomes the program. */
function limited({ command, maxMemoryBytes }: CheckerOptions): readonly [string, ...string[]] {
  if (process.platform === 'win32') return command;
  return ['/bin/sh', '-c', 'ulimit -v "$0" && exec "$@"', String(Math.ceil(maxMemoryBytes / 1024)), ...command];
}

const inputOf = ({ prompt, references, reply, columns }: ReplySample, input: CheckerOptions['input']): string =>
  input === 'reply' ? reply : JSON.stringify({ prompt, reference: references[0], reply, columns });

/**
 * Runs the checker on a reply: the exit code 0 means success. It is ended, with the processes that it started, after
 * the time limit or if it writes too much. The reply is only written to its standard input.
 *
 * @throws `PLUGIN_FAILED` if the program cannot be started
 */
export function runChecker(options: CheckerOptions, sample: ReplySample): Promise<CheckOutcome> {
  const [program, ...parameters] = limited(options);
  return new Promise((resolve, reject) => {
    // A group of its own, so that its children can be ended, too.
    const child = spawn(program, parameters, { cwd: options.folder, stdio: 'pipe', detached: true });
    let [written, stopped] = [0, false];
    const stop = (): void => {
      stopped = true;
      try {
        process.kill(process.platform === 'win32' ? (child.pid ?? 0) : -(child.pid ?? 0), 'SIGKILL');
      } catch {
        // It has just ended.
      }
      for (const stream of [child.stdout, child.stderr]) stream.destroy();
    };
    const timer = setTimeout(stop, options.timeoutSeconds * 1000);
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (bytes: Buffer) => {
        written += bytes.byteLength;
        if (written > options.maxOutputBytes && !stopped) stop();
      });
    // A checker that does not read its input closes the pipe.
    child.stdin.on('error', () => undefined);
    child.stdin.end(inputOf(sample, options.input));
    child.on('error', (cause) => {
      clearTimeout(timer);
      reject(notStarted(options, cause));
    });
    child.on('close', (code) => {
      clearTimeout(timer);
      // The shell's codes for a program that it cannot find or execute.
      if (!stopped && (code === 126 || code === 127)) reject(notStarted(options, null));
      else resolve(stopped ? 'stopped' : code === 0 ? 'passed' : 'failed');
    });
  });
}

const notStarted = ({ command }: CheckerOptions, cause: unknown): WhetstoneError =>
  new WhetstoneError('PLUGIN_FAILED', `The checker '${command[0]}' cannot be started.`, {
    found: command.join(' '),
    hint: 'Check the path of the program, and that it is executable.',
    cause,
  });
