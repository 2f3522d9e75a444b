import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { promisify } from 'node:util';
import { codeOf } from './errors.js';

/** What identifies a process, also to processes of other machines. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it started, in a form that depends on the operating system; null if unknown. */
  readonly started: string | null;
  readonly host: string;
  /** The container in which its process id counts; null if unknown, or if the operating system has none. */
  readonly container: string | null;
}

/** Returns the result of a call of the file system, or null if it fails. */
function orNull<T>(call: () => T): T | null {
  try {
    return call();
  } catch {
    return null;
  }
}

/** Where the process ids of this process count. */
const ownPlace = (): Pick<ProcessIdentity, 'host' | 'container'> => ({
  host: hostname(),
  container: orNull(() => readlinkSync('/proc/self/ns/pid')),
});

/** Returns the identity of this process. */
export async function ownIdentity(): Promise<ProcessIdentity> {
  return { pid: process.pid, started: (await stateOf(process.pid)).started, ...ownPlace() };
}

/** Returns whether a process can be looked up from here: process ids count in one machine and container only. */
export const isNear = (
  { host, container }: Pick<ProcessIdentity, 'host' | 'container'>,
  own: Pick<ProcessIdentity, 'host' | 'container'>,
): boolean => host === own.host && container === own.container;

/** Returns whether a process of this machine still runs. Another process can have its id by now. */
export const isRunning = ({ pid, started }: Pick<ProcessIdentity, 'pid' | 'started'>): Promise<boolean> =>
  runs(pid, (found) => started === null || started === found);

/** Returns whether a process with this id runs whose start, if it is known, is the expected one. */
async function runs(pid: number, isExpected: (started: string) => boolean): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) === 'ESRCH') return false;
  }
  const { hasEnded, started } = await stateOf(pid);
  return !hasEnded && (started === null || isExpected(started));
}

const digest = (text: string, digits: number): string =>
  createHash('sha256').update(text).digest('hex').slice(0, digits);

/** Stands for an unknown start. Only Linux tells it without starting a program. */
const UNKNOWN_START = '000000';

/** The start of this process as it stands in names. */
const ownStart = process.platform === 'linux' ? startMark(linuxState(process.pid).started) : UNKNOWN_START;

function startMark(started: string | null): string {
  return started === null ? UNKNOWN_START : digest(started, UNKNOWN_START.length);
}

/** Identifies the machine and container in names, because process ids of others are meaningless here. */
const { host, container } = ownPlace();
const ownMachine = digest(`${host} ${container}`, 8);

/** The identity of this process in the name of a file: machine, process id and start. */
export const ownMark = `${ownMachine}-${process.pid}-${ownStart}`;

/**
 * Returns what became of the process of a mark: it is this one, runs, has ended, or cannot be seen from here. Marks of
 * earlier versions lack the start.
 */
export async function markedProcess(mark: string): Promise<'own' | 'running' | 'ended' | 'elsewhere'> {
  const [machine, pid, start = UNKNOWN_START] = mark.split('-');
  if (machine !== ownMachine) return 'elsewhere';
  if (mark === ownMark) return 'own';
  const isExpected = (started: string): boolean => start === UNKNOWN_START || start === startMark(started);
  return (await runs(Number(pid), isExpected)) ? 'running' : 'ended';
}

interface ProcessState {
  readonly started: string | null;
  /** Whether it has ended, and its parent did not read its exit code yet. */
  readonly hasEnded: boolean;
}

async function stateOf(pid: number): Promise<ProcessState> {
  if (process.platform === 'linux') return linuxState(pid);
  if (process.platform === 'win32') return { started: null, hasEnded: false };
  const { stdout } = await promisify(execFile)('ps', ['-o', 'lstart=', '-p', String(pid)], {
    env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' },
  }).catch(() => ({ stdout: '' }));
  return { started: stdout.trim() === '' ? null : stdout.trim(), hasEnded: false };
}

function linuxState(pid: number): ProcessState {
  const textOf = (file: string): string | null => orNull(() => readFileSync(file, 'utf8'));
  const text = textOf(`/proc/${pid}/stat`);
  // After the name of the program, which can contain spaces and parentheses: the state is the third field of proc(5),
  // the start in ticks since the boot of the machine the 22nd.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ') ?? [];
  const [state, ticks] = [fields[0], fields[19]];
  const boot = textOf('/proc/sys/kernel/random/boot_id')?.trim() ?? '';
  return { started: ticks === undefined ? null : `${boot} ${ticks}`, hasEnded: state === 'Z' || state === 'X' };
}
