import { join } from 'node:path';
import { listCheckpoints, writeJson } from '../checkpoint/index.js';
import type { ResolvedConfig } from '../config/types.js';
import { WhetstoneError, type RunReport } from '../contract/index.js';
import { checkFormatVersion, isWithin, readTextIfPresent } from '../files/index.js';

/** The file in the folder of a staged run that lists its stages with the reports of those that are done. */
const STAGES_FILE = 'stages.json';

const FORMAT = 'whetstone-stages';
const FORMAT_VERSION = 1;

interface StagesFile {
  readonly format: typeof FORMAT;
  readonly version: number;
  readonly stages: readonly { readonly name: string; readonly report: RunReport | null }[];
}

/** Returns the folder of a stage within that of the run, such as `2-domain`. */
export const stageFolder = (root: string, index: number, name: string): string => join(root, `${index + 1}-${name}`);

/**
 * Reads the reports of the stages that are done, from the first on.
 *
 * @throws `CHECKPOINT_INVALID` if the folder has different stages
 * @throws `VERSION_UNSUPPORTED` if a later version wrote it
 */
async function readDone(root: string, names: readonly string[]): Promise<readonly RunReport[]> {
  const file = join(root, STAGES_FILE);
  const text = await readTextIfPresent(file);
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
      hint: 'Resume with the configuration that wrote it, or start a new run.',
    });
  }
  const reports: RunReport[] = [];
  for (const { report } of saved.stages ?? []) {
    if (report === null) break;
    reports.push(report);
  }
  return reports;
}

/** Writes the list of stages with the reports of those that are done. */
export function writeDone(root: string, names: readonly string[], reports: readonly RunReport[]): Promise<void> {
  const stages: StagesFile = {
    format: FORMAT,
    version: FORMAT_VERSION,
    stages: names.map((name, index) => ({ name, report: reports[index] ?? null })),
  };
  return writeJson(join(root, STAGES_FILE), stages);
}

export interface StageResume {
  /** Reports of the stages that are not run again. */
  readonly done: readonly RunReport[];
  /** `resumeFromCheckpoint` of the next stage: a checkpoint, true for its newest, or null without any. */
  readonly next: string | true | null;
}

/**
 * Finds the point at which a staged run resumes: after the stages that are done, and within the next one if it has a
 * checkpoint. The path of a given checkpoint determines its stage.
 *
 * @throws `CHECKPOINT_INVALID`
 * @throws `CONFIG_CONFLICT` if the checkpoint belongs to another run, or if the stages before it are not done
 */
export async function findResume(
  { output, training }: Pick<ResolvedConfig, 'output' | 'training'>,
  names: readonly string[],
): Promise<StageResume | null> {
  const { folder: root } = output;
  const requested = training.resumeFromCheckpoint;
  if (requested === null || requested === false || root === null) return null;
  const done = await readDone(root, names);
  if (typeof requested !== 'string') {
    const index = Math.min(done.length, names.length - 1);
    return {
      done,
      next:
        done.length < names.length && (await listCheckpoints(stageFolder(root, index, names[index] ?? ''))).length > 0
          ? true
          : null,
    };
  }
  const index = names.findIndex((name, position) => isWithin(stageFolder(root, position, name), requested));
  if (index < 0 || index > done.length) {
    throw new WhetstoneError(
      'CONFIG_CONFLICT',
      index < 0
        ? 'The checkpoint does not belong to a stage of this run.'
        : 'The stages before that of the checkpoint are not done.',
      {
        place: { path: 'training.resumeFromCheckpoint', file: requested },
        expected: `a checkpoint in ${names.map((name, position) => stageFolder(root, position, name)).join(', ')}`,
      },
    );
  }
  return { done: done.slice(0, index), next: requested };
}
