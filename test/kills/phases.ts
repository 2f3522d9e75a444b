import { sep } from 'node:path';
import { readTemporaryName } from '../../packages/core/src/files/write.js';

/** What a run does when it is killed. `end`: after its result is complete. */
export const phases = ['start', 'training', 'evaluation', 'save', 'export', 'end'] as const;
export type Phase = (typeof phases)[number];

/** How a child runs. */
export interface ChildParameters {
  /** The folder with `run.json`, which writes to its folder `run`. */
  readonly project: string;
  /** The number of steps between evaluations. */
  readonly evaluates: number;
  readonly resume: boolean;
  /** The number of the operation on the files of the run at which the process kills itself; null: it does not. */
  readonly operation: number | null;
}

/** Returns the phase in which a run touches a file: what is being written is in a temporary folder. */
export function phaseOfPath(path: string): Phase | null {
  const names = path.split(sep).flatMap((name) => readTemporaryName(name)?.of ?? []);
  if (names.some((name) => /^checkpoint-\d+$/.test(name))) return 'save';
  return names.some((name) => /^(adapter|model|merged|hand-over)$/.test(name)) ? 'export' : null;
}
