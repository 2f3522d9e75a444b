import { spawn } from 'node:child_process';

export interface CommandResult {
  /** Exit code; null where the command could not be started or was ended by a signal. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Why it could not be started. */
  readonly startError: string | null;
}

export interface CommandOptions {
  readonly signal?: AbortSignal | undefined;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly onOutput?: (text: string) => void;
  /** When it is given up and ended; without, it may take as long as it likes. */
  readonly timeoutMilliseconds?: number | undefined;
}

/** A Python that answers a question takes a second, from a slow disk some. */
const MOST_MILLISECONDS = 60_000;

/** Runs a program to its end and collects what it writes. Never rejects: what went wrong is in the result. */
export function runCommand(
  command: string,
  parameters: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = spawn(command, parameters, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...options.environment },
      signal: options.signal,
      windowsHide: true,
    });
    let stdout = '';
    let stderr = '';
    let startError: string | null = null;
    const { timeoutMilliseconds } = options;
    const giveUp =
      timeoutMilliseconds === undefined
        ? undefined
        : setTimeout(() => {
            child.kill('SIGKILL');
            // What it started itself may hold its pipes open.
            for (const pipe of [child.stdout, child.stderr]) pipe.destroy();
            resolve({
              code: null,
              stdout,
              stderr,
              startError: `gave no answer in ${timeoutMilliseconds / 1000} seconds`,
            });
          }, timeoutMilliseconds);
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
      options.onOutput?.(chunk.toString());
    });
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.on('error', (error: NodeJS.ErrnoException) => {
      startError = error.code === 'ENOENT' ? 'not found on the PATH' : error.message;
      if (child.pid !== undefined) return;
      clearTimeout(giveUp);
      resolve({ code: null, stdout, stderr, startError });
    });
    child.on('close', (code) => {
      clearTimeout(giveUp);
      resolve({ code, stdout, stderr, startError });
    });
  });
}

/** A Python command and the arguments that come before all others. */
export interface Python {
  readonly command: string;
  readonly parameters: readonly string[];
}

function candidates(): Python[] {
  const named = process.env['WHETSTONE_PYTHON'];
  if (named) return [{ command: named, parameters: [] }];
  const usual = ['python3', 'python'].map((command) => ({ command, parameters: [] }));
  return process.platform === 'win32' ? [{ command: 'py', parameters: ['-3'] }, ...usual] : usual;
}

/**
 * Finds a Python that can do what `probe` asks of it: `WHETSTONE_PYTHON` alone where it is set, else the usual names on
 * the PATH. One that does not answer in time is passed over.
 *
 * @returns the first that answers with exit code 0, or every reason why none did
 */
export async function findPython(
  probe: readonly string[],
  signal?: AbortSignal,
  timeoutMilliseconds = MOST_MILLISECONDS,
): Promise<{ readonly python: Python; readonly result: CommandResult } | { readonly reasons: readonly string[] }> {
  const reasons: string[] = [];
  for (const python of candidates()) {
    const result = await runCommand(python.command, [...python.parameters, ...probe], { signal, timeoutMilliseconds });
    if (result.code === 0) return { python, result };
    reasons.push(`${python.command}: ${result.startError ?? (lastLine(result.stderr) || `exit code ${result.code}`)}`);
  }
  return { reasons };
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)?.trim() ?? '';
}
