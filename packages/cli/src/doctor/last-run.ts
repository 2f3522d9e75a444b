import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { isRecord } from '@whetstone/core/util';
import type { Section } from './section.js';

/** The configuration that is used if none is named. */
const DEFAULT_CONFIG = 'run.json';

const isThere = (path: string, kind: 'isFile' | 'isDirectory'): Promise<boolean> =>
  stat(path).then(
    (found) => found[kind](),
    () => false,
  );

/** Which run a report is about. */
interface RunRequest {
  /** A configuration file or the output folder of a run. */
  readonly path: string | undefined;
  /** An output folder that replaces that of the configuration. */
  readonly output: string | undefined;
}

/**
 * Returns the output folder of a run: the named one, that of the named configuration, or that of `run.json` in the
 * current folder. Null if there is none. A configuration in TypeScript or JavaScript is executed; nothing that a
 * configuration names is loaded.
 *
 * @throws `CONFIG_UNREADABLE`
 */
export async function outputFolderFor({ path, output }: RunRequest): Promise<string | null> {
  if (output !== undefined) return resolve(output);
  if (path !== undefined && (await isThere(path, 'isDirectory'))) return resolve(path);
  const config = path ?? ((await isThere(DEFAULT_CONFIG, 'isFile')) ? DEFAULT_CONFIG : null);
  if (config === null) return null;
  const { outputFolderOf } = await import('@whetstone/core/config');
  const { readConfig } = await import('@whetstone/core/plugins');
  const { sharedModules } = await import('../trainer.js');
  const raw = await readConfig(config, sharedModules);
  const value = isRecord(raw.value) ? raw.value : {};
  const section = isRecord(value['output']) ? value['output'] : {};
  // The names of other trainers for the same setting.
  return outputFolderOf(raw, section['folder'] ?? value['outputDir'] ?? value['output_dir']);
}

/** The error that ended the last run: code, message, step and time only. */
export async function lastRun(request: RunRequest): Promise<Section> {
  const folder = await outputFolderFor(request);
  if (folder === null) {
    const why = 'no run was named, and run.json was not found here: whetstone doctor <configuration or run folder>';
    return { data: { folder: null, error: null }, rows: [['error', why]] };
  }
  const { readLastError } = await import('@whetstone/core/checkpoint');
  const rows: (readonly [string, string])[] = [['folder', folder]];
  if (!(await isThere(folder, 'isDirectory'))) {
    return { data: { folder, error: null }, rows: [...rows, ['error', 'none: the folder does not exist']] };
  }
  const error = await readLastError(folder);
  const isRun = await isThere(join(folder, 'config.resolved.json'), 'isFile');
  if (error === null) {
    const none = isRun ? 'none recorded' : 'none: the folder does not contain a run';
    return { data: { folder, error: null }, rows: [...rows, ['error', none]] };
  }
  const step = error.step === null ? 'before the first step' : `after step ${error.step}`;
  return {
    data: { folder, error },
    rows: [...rows, ['error', `[${error.code}] ${error.message}`], ['when', `${error.time}, ${step}`]],
  };
}
