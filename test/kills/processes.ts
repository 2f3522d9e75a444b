import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { phases, type Phase } from './phases.js';

/** When a process is killed: at a file operation, or some time after a line of its output. */
export interface Moment {
  readonly operation: number | null;
  /** The number of the line; -1: never. */
  readonly line: number;
  readonly milliseconds: number;
  readonly victim: Victim;
}

/** Which processes of a run are killed: all, or one of those that the launcher and its two workers are. */
export type Victim = 'all' | 'launcher' | 'worker 0' | 'worker 1';

/** How a child ended. */
export interface Ended {
  readonly killed: boolean;
  readonly code: number | null;
  readonly lines: readonly string[];
  readonly errors: string;
  readonly phase: Phase;
  /** The number of processes that had not ended {@link LIMIT_SECONDS} after another one was killed. */
  readonly overdue: number;
}

/** The time in which the other processes of a run must end, on a machine that is busy. */
const LIMIT_SECONDS = 240;

/** Returns the ids of a process and all its descendants. The workers of a launcher follow it, by their rank. */
function familyOf(pid: number): readonly number[] {
  const table = execFileSync('ps', ['-A', '-o', 'pid=,ppid=']).toString().trim().split('\n');
  const parents = table.map((line) => line.trim().split(/\s+/).map(Number));
  const family = [pid];
  for (const member of family)
    family.push(...parents.flatMap(([child = 0, parent]) => (parent === member ? [child] : [])).toSorted(byNumber));
  return family;
}

const byNumber = (one: number, other: number): number => one - other;

/** Returns those of a launcher and its workers that are killed. */
const victimsIn = ([launcher = 0, worker0 = 0, worker1 = 0, ...others]: readonly number[], victim: Victim): number[] =>
  ({
    all: [launcher, worker0, worker1, ...others].filter((pid) => pid > 0),
    launcher: [launcher],
    'worker 0': [worker0],
    'worker 1': [worker1],
  })[victim];

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** Kills processes that this one has started (SIGKILL). */
function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
}

const isPhase = (line: string): line is Phase => (phases as readonly string[]).includes(line);

/** Returns the phase that a line of the command's output starts. */
function phaseAfter(line: string): Phase | null {
  if (isPhase(line)) return line;
  if (/^\d+ steps; /.test(line) || /^(step|saved|Stage) /.test(line)) return 'training';
  return line.startsWith('written to') ? 'end' : null;
}

/** Waits until processes have ended. Kills those left after {@link LIMIT_SECONDS}, and returns their number. */
async function endOf(pids: readonly number[]): Promise<number> {
  for (let tries = 0; tries < LIMIT_SECONDS * 10 && pids.some(isAlive); tries++) await setTimeout(100);
  const overdue = pids.filter(isAlive);
  killAll(overdue);
  return overdue.length;
}

/** Runs a program of Node.js in a folder, and kills it, its descendants or one of them at a moment. */
export async function runUntil(
  parameters: readonly string[],
  cwd: string,
  { line: lineOfKill, milliseconds, victim }: Moment,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Ended> {
  const child = spawn(process.execPath, parameters, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  const lines: string[] = [];
  let isKilled = false;
  let overdue = Promise.resolve(0);
  let phase: Phase = 'start';
  for await (const line of createInterface(child.stdout)) {
    lines.push(line);
    phase = phaseAfter(line) ?? phase;
    if (lines.length - 1 !== lineOfKill) continue;
    await setTimeout(milliseconds);
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) continue;
    const family = familyOf(child.pid);
    const chosen = victimsIn(family, victim).filter((pid) => pid > 0);
    isKilled = chosen.length > 0;
    killAll(chosen);
    overdue = endOf(family);
  }
  const [code, signal] = await ended;
  const killed = signal === 'SIGKILL' || (isKilled && code !== 0);
  return { killed, code, lines, errors, phase, overdue: await overdue };
}
