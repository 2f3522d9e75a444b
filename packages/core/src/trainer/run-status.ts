import { open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { readTextIfPresent } from '../files/index.js';
import {
  bootOf,
  explainEnd,
  heapLimit,
  memoryLimits,
  observeMemory,
  outOfMemoryKills,
  type ExpectedShortage,
  type MemoryObservation,
} from '../memory/index.js';
import type { RunPosition } from '../training/train-run.js';
import { isRecord } from '../util/index.js';

/** The file that says how far a run is and how much memory it uses. It exists while the run holds its lock. */
const STATUS_FILE = '.run.status';
const FORMAT = 'whetstone-status';
/** The file is written in place with this size: a process that is killed leaves the old or the new status. */
const STATUS_BYTES = 4096;
/** The interval in which a run renews its status, also during a long step. */
const INTERVAL_MILLISECONDS = 2000;
/** The least time between two writes after steps. */
const LEAST_MILLISECONDS = 250;

/** The status of a run. */
export interface RunStatus extends MemoryObservation {
  /** The token of the lock that the run holds. */
  readonly token: string;
  readonly time: string;
  /** Null before the first step. */
  readonly position: RunPosition | null;
  /** The options that reduce the memory of the run; null if they are not known yet. */
  readonly hint: string | null;
  /** The limit that the run was expected to exceed; null if none, or if it is not known yet. */
  readonly shortage: ExpectedShortage | null;
}

/** What the run knows of itself. */
type OwnStatus = Pick<RunStatus, 'position' | 'hint' | 'shortage'>;

/** Records the status of a run in its output folder. A failure has no consequence for the run. */
export interface StatusRecorder {
  note(changes: Partial<OwnStatus>): void;
  /** Removes the record. */
  close(): Promise<void>;
}

/** Starts to record the status of the run that holds the lock `token`. */
export async function recordStatus(folder: string, token: string): Promise<StatusRecorder> {
  const file = join(folder, STATUS_FILE);
  const handle = await open(file, 'w').catch(() => null);
  let status: OwnStatus & Pick<RunStatus, 'token'> = { token, position: null, hint: null, shortage: null };
  let written = -Infinity;
  let writing: Promise<void> | null = null;
  const write = (): void => {
    if (handle === null || writing !== null) return;
    written = performance.now();
    writing = writeStatus(handle, status)
      .catch(() => undefined)
      .finally(() => {
        writing = null;
      });
  };
  write();
  const timer = setInterval(write, INTERVAL_MILLISECONDS);
  timer.unref();
  return {
    note(changes) {
      status = { ...status, ...changes };
      if (performance.now() - written >= LEAST_MILLISECONDS) write();
    },
    async close() {
      clearInterval(timer);
      await writing;
      await handle?.close().catch(() => undefined);
      await rm(file, { force: true }).catch(() => undefined);
    },
  };
}

async function writeStatus(handle: FileHandle, known: OwnStatus & Pick<RunStatus, 'token'>): Promise<void> {
  const observed = observeMemory(process.memoryUsage.rss(), [...memoryLimits(), heapLimit()]);
  const status: RunStatus = { ...known, time: new Date().toISOString(), ...observed };
  const text = Buffer.from(`${JSON.stringify({ format: FORMAT, ...status })}\n`);
  if (text.length > STATUS_BYTES) return;
  const page = Buffer.alloc(STATUS_BYTES, ' ');
  text.copy(page);
  await handle.write(page, 0, STATUS_BYTES, 0);
}

/** Returns the status that the run with the lock `token` left in a folder; null if it left none that can be read. */
export async function statusIn(folder: string, token: string): Promise<RunStatus | null> {
  const text = await readTextIfPresent(join(folder, STATUS_FILE)).catch(() => null);
  try {
    const value = JSON.parse(text ?? 'null') as unknown;
    const isStatus =
      isRecord(value) &&
      value['format'] === FORMAT &&
      value['token'] === token &&
      typeof value['time'] === 'string' &&
      Array.isArray(value['kills']);
    return isStatus ? (value as unknown as RunStatus) : null;
  } catch {
    return null;
  }
}

/**
 * Describes a run that ended without releasing its lock: when it was last seen, at which step, and why it ended as far
 * as that is known.
 *
 * @param holder the process in words
 * @param renewed when its lock was renewed
 */
export function describeUnfinished(
  folder: string,
  holder: string,
  renewed: Date,
  status: RunStatus | null,
  now: Pick<MemoryObservation, 'boot' | 'kills'> = { boot: bootOf(), kills: outOfMemoryKills() },
): string {
  // Records of earlier versions have no shortage.
  const { text, isMemory } = explainEnd(status, now, status?.shortage ?? null);
  const { position = null, hint = null, time = renewed.toISOString() } = status ?? {};
  const stage = position?.stage === undefined ? '' : ` of stage '${position.stage}'`;
  const where =
    position === null ? 'before its first step' : `after step ${position.step} of ${position.totalSteps}${stage}`;
  const at = status === null ? `at ${time}` : `at ${time}, ${where}`;
  return (
    `The last run in ${folder} did not finish: ${holder}, was last seen ${at}. ${text}` +
    (isMemory && hint !== null ? ` What needs less memory: ${hint}` : '')
  );
}
