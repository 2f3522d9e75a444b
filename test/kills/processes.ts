import { execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { phases, type Phase } from './phases.js';

/** When a process is killed: at a file operation, or some time after a line of its output. */
export interface Moment {
  readonly operation: number | null;
  /** The number of the line; -1: never. */
  readonly line: number;
  readonly milliseconds: number;
}

/** How a child ended. */
export interface Ended {
  readonly killed: boolean;
  readonly code: number | null;
  readonly lines: readonly string[];
  readonly errors: string;
  readonly phase: Phase;
}

/** Returns the ids of a process and all its descendants. */
function familyOf(pid: number): readonly number[] {
  const table = execFileSync('ps', ['-A', '-o', 'pid=,ppid=']).toString().trim().split('\n');
  const parents = table.map((line) => line.trim().split(/\s+/).map(Number));
  const family = [pid];
  for (const member of family)
    family.push(...parents.flatMap(([child = 0, parent]) => (parent === member ? [child] : [])));
  return family;
}

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

/** Runs a program of Node.js in a folder, and kills it and its descendants at a moment. */
export async function runUntil(
  parameters: readonly string[],
  cwd: string,
  { line: lineOfKill, milliseconds }: Moment,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Ended> {
  const child = spawn(process.execPath, parameters, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const ended = new Promise<readonly [number | null, NodeJS.Signals | null]>((resolve) => {
    child.once('close', (code, signal) => resolve([code, signal]));
  });
  const lines: string[] = [];
  let family: readonly number[] = [];
  let phase: Phase = 'start';
  for await (const line of createInterface(child.stdout)) {
    lines.push(line);
    phase = phaseAfter(line) ?? phase;
    if (lines.length - 1 !== lineOfKill) continue;
    await setTimeout(milliseconds);
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) continue;
    family = familyOf(child.pid);
    killAll(family);
  }
  const [code, signal] = await ended;
  for (let tries = 0; tries < 1000 && family.some(isAlive); tries++) await setTimeout(10);
  return { killed: signal === 'SIGKILL', code, lines, errors, phase };
}
