import { spawn } from 'node:child_process';

export interface CommandResult {
  /** Exit code; null if the command could not be started or was ended by a signal. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Why it could not be started, or did not end in time; otherwise null. */
  readonly startError: string | null;
}

export interface CommandOptions {
  readonly signal?: AbortSignal | undefined;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly onOutput?: (text: string) => void;
  /** Time after which the command is killed; by default it is not. */
  readonly timeoutMilliseconds?: number | undefined;
}

/** Time for a Python to answer. It usually takes a second, and more on a slow disk. */
const TIMEOUT_MILLISECONDS = 60_000;

/** Runs a command and returns its exit code and output. It never rejects: the result describes any failure. */
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
    const timeout =
      timeoutMilliseconds === undefined
        ? undefined
        : setTimeout(() => {
            child.kill('SIGKILL');
            // Its child processes may keep the pipes open.
            for (const pipe of [child.stdout, child.stderr]) pipe.destroy();
            resolve({
              code: null,
              stdout,
              stderr,
              startError: `did not end within ${timeoutMilliseconds / 1000} seconds`,
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
      clearTimeout(timeout);
      resolve({ code: null, stdout, stderr, startError });
    });
    child.on('close', (code) => {
      clearTimeout(timeout);
      resolve({ code, stdout, stderr, startError });
    });
  });
}

/** A Python command and its first arguments. */
export interface Python {
  readonly command: string;
  readonly parameters: readonly string[];
}

function candidates(): Python[] {
  const configured = process.env['WHETSTONE_PYTHON'];
  if (configured) return [{ command: configured, parameters: [] }];
  const defaults = ['python3', 'python'].map((command) => ({ command, parameters: [] }));
  return process.platform === 'win32' ? [{ command: 'py', parameters: ['-3'] }, ...defaults] : defaults;
}

/**
 * Finds a Python that runs `probe` successfully in time. If `WHETSTONE_PYTHON` is set, only that one is tried;
 * otherwise the usual commands on the PATH.
 *
 * @returns the first Python with exit code 0, or the reason of each failure
 */
export async function findPython(
  probe: readonly string[],
  signal?: AbortSignal,
  timeoutMilliseconds = TIMEOUT_MILLISECONDS,
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
