import { readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { listCheckpoints, writeJson } from '../checkpoint/index.js';
import type { ResolvedConfig } from '../config/types.js';
import { WhetstoneError, type RunReport } from '../contract/index.js';
import { checkFormatVersion } from '../files/index.js';

/** The file in the folder of a staged run that says which of its stages are done, and what they came to. */
const STAGES_FILE = 'stages.json';

const FORMAT = 'whetstone-stages';
const FORMAT_VERSION = 1;

interface StagesFile {
  readonly format: typeof FORMAT;
  readonly version: number;
  readonly stages: readonly { readonly name: string; readonly report: RunReport | null }[];
}

/** `2-domain`: a stage's folder in that of the run. */
export const stageFolder = (root: string, index: number, name: string): string => join(root, `${index + 1}-${name}`);

/**
 * Reports of the stages that are done, from the first on. @throws WhetstoneError `CHECKPOINT_INVALID` where the folder
 * is of other stages, `VERSION_UNSUPPORTED` if a later version wrote it
 */
async function readDone(root: string, names: readonly string[]): Promise<readonly RunReport[]> {
  const file = join(root, STAGES_FILE);
  const text = await readFile(file, 'utf8').catch(() => null);
  if (text === null) return [];
  let saved: Partial<StagesFile>;
  try {
    saved = JSON.parse(text) as Partial<StagesFile>;
  } catch (cause) {
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The list of stages is not JSON.', { place: { file }, cause });
  }
  if (saved.format === FORMAT)
    checkFormatVersion({ file, what: 'The list of stages', found: saved.version, supported: FORMAT_VERSION });
  const known = saved.stages?.map(({ name }) => name) ?? [];
  if (saved.format !== FORMAT || known.join('\n') !== names.join('\n')) {
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The folder belongs to a run with other stages.', {
      place: { file },
      expected: names.join(', '),
      found: known.join(', '),
      hint: 'Resume under the configuration that wrote it, or start a new run.',
    });
  }
  const reports: RunReport[] = [];
  for (const { report } of saved.stages ?? []) {
    if (report === null) break;
    reports.push(report);
  }
  return reports;
}

/** Notes which stages are done. */
export function writeDone(root: string, names: readonly string[], reports: readonly RunReport[]): Promise<void> {
  const stages: StagesFile = {
    format: FORMAT,
    version: FORMAT_VERSION,
    stages: names.map((name, index) => ({ name, report: reports[index] ?? null })),
  };
  return writeJson(join(root, STAGES_FILE), stages);
}

export interface StageResume {
  /** Reports of the stages that need not be run again. */
  readonly done: readonly RunReport[];
  /** What `resumeFromCheckpoint` is for the stage that comes next: its checkpoints, if it has any. */
  readonly next: string | true | null;
}

/**
 * Where a staged run goes on: after the stages that are done, within the next one where that has a checkpoint. A
 * checkpoint's path says itself which stage it is of.
 *
 * @throws WhetstoneError `CHECKPOINT_INVALID`, `CONFIG_CONFLICT` for a checkpoint of another run, or of a stage before
 *   which others are not done
 */
export async function findResume(
  { output, training }: Pick<ResolvedConfig, 'output' | 'training'>,
  names: readonly string[],
): Promise<StageResume | null> {
  const { folder: root } = output;
  const wanted = training.resumeFromCheckpoint;
  if (wanted === null || wanted === false || root === null) return null;
  const done = await readDone(root, names);
  if (typeof wanted !== 'string') {
    const index = Math.min(done.length, names.length - 1);
    return {
      done,
      next:
        done.length < names.length && (await listCheckpoints(stageFolder(root, index, names[index] ?? ''))).length > 0
          ? true
          : null,
    };
  }
  const index = names.findIndex(
    (name, position) => !relative(stageFolder(root, position, name), wanted).startsWith('..'),
  );
  if (index < 0 || index > done.length) {
    throw new WhetstoneError(
      'CONFIG_CONFLICT',
      index < 0
        ? 'The checkpoint belongs to none of the stages of this run.'
        : 'The stages before that of the checkpoint are not done.',
      {
        place: { path: 'training.resumeFromCheckpoint', file: wanted },
        expected: `a checkpoint in ${names.map((name, position) => stageFolder(root, position, name)).join(', ')}`,
      },
    );
  }
  return { done: done.slice(0, index), next: wanted };
}
