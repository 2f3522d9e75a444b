import { execFile } from 'node:child_process';
import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { promisify } from 'node:util';

/** What identifies a process, also to processes of other machines. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it started, in a form that depends on the operating system; null if unknown. */
  readonly started: string | null;
  readonly host: string;
  /** The container in which its process id counts; null if unknown, or if the operating system has none. */
  readonly container: string | null;
}

const textOf = (file: string): Promise<string | null> => readFile(file, 'utf8').catch(() => null);

/** Returns the identity of this process. */
export async function ownIdentity(): Promise<ProcessIdentity> {
  return {
    pid: process.pid,
    started: (await stateOf(process.pid)).started,
    host: hostname(),
    container: await readlink('/proc/self/ns/pid').catch(() => null),
  };
}

/** Returns whether a process can be looked up from here: process ids count in one machine and container only. */
export const isNear = (
  { host, container }: Pick<ProcessIdentity, 'host' | 'container'>,
  own: Pick<ProcessIdentity, 'host' | 'container'>,
): boolean => host === own.host && container === own.container;

/** Returns whether a process of this machine still runs. Another process can have its id by now. */
export async function isRunning({ pid, started }: Pick<ProcessIdentity, 'pid' | 'started'>): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const state = await stateOf(pid);
  if (state.hasEnded) return false;
  return started === null || state.started === null || started === state.started;
}

interface ProcessState {
  readonly started: string | null;
  /** Whether it has ended, and its parent did not read its exit code yet. */
  readonly hasEnded: boolean;
}

async function stateOf(pid: number): Promise<ProcessState> {
  if (process.platform === 'linux') {
    const text = await textOf(`/proc/${pid}/stat`);
    // After the name of the program, which can contain spaces and parentheses: the state is the third field of proc(5),
    // the start in ticks since the boot of the machine the 22nd.
    const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ') ?? [];
    const [state, ticks] = [fields[0], fields[19]];
    const boot = (await textOf('/proc/sys/kernel/random/boot_id'))?.trim() ?? '';
    return { started: ticks === undefined ? null : `${boot} ${ticks}`, hasEnded: state === 'Z' || state === 'X' };
  }
  if (process.platform === 'win32') return { started: null, hasEnded: false };
  const { stdout } = await promisify(execFile)('ps', ['-o', 'lstart=', '-p', String(pid)], {
    env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' },
  }).catch(() => ({ stdout: '' }));
  return { started: stdout.trim() === '' ? null : stdout.trim(), hasEnded: false };
}
