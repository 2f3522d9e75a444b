import { readdir, rm } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { WhetstoneError, type BatchSource } from '../contract/index.js';
import type { ResolvedConfig } from '../config/types.js';
import { fileError, makeFolder, writeAtomically } from '../files/index.js';

/** The file that marks a folder as that of a run. */
const RESOLVED_CONFIG_FILE = 'config.resolved.json';

async function entriesOf(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).filter((name) => !name.startsWith('.'));
  } catch (cause) {
    const code = (cause as { code?: unknown }).code;
    if (code === 'ENOENT') return [];
    if (code === 'ENOTDIR')
      throw new WhetstoneError('OUTPUT_EXISTS', 'The output folder is a file.', { place: { file: folder } });
    throw fileError(cause, folder);
  }
}

const contains = (folder: string, path: string): boolean => !relative(folder, path).startsWith('..');

/** Whether the run of the folder is the one that is resumed, rather than one elsewhere. */
const goesOn = (folder: string, resume: ResolvedConfig['training']['resumeFromCheckpoint']): boolean =>
  typeof resume === 'string' ? contains(folder, resume) : resume === true;

/**
 * Checks that a run may write into its folder: it is empty or missing, or it holds the run that is resumed, or one that
 * may be overwritten. Nothing is written yet.
 *
 * @throws WhetstoneError `OUTPUT_EXISTS`
 */
export async function checkOutputFolder({
  output,
  training,
  baseFolder,
}: Pick<ResolvedConfig, 'output' | 'training' | 'baseFolder'>): Promise<void> {
  const { folder, overwrite } = output;
  if (folder === null) return;
  const entries = await entriesOf(folder);
  const isRun = entries.includes(RESOLVED_CONFIG_FILE);
  if (entries.length === 0 || (isRun && goesOn(folder, training.resumeFromCheckpoint))) return;
  const place = { file: folder };
  const found = entries.slice(0, 5).join(', ') + (entries.length > 5 ? ', …' : '');
  if (!isRun)
    throw new WhetstoneError('OUTPUT_EXISTS', 'The output folder holds something that is no run.', {
      place,
      found,
      hint: 'Choose another output.folder, or empty this one.',
    });
  if (!overwrite) {
    throw new WhetstoneError('OUTPUT_EXISTS', 'The output folder already holds a run.', {
      place,
      found,
      hint:
        'Go on with it (training.resumeFromCheckpoint: true), replace it (output.overwrite: true), or choose ' +
        'another output.folder.',
    });
  }
  if (contains(folder, resolve(baseFolder)) || contains(folder, process.cwd())) {
    throw new WhetstoneError(
      'OUTPUT_EXISTS',
      "The output folder holds the configuration's own folder and is not overwritten.",
      { place, hint: 'Choose another output.folder.' },
    );
  }
}

/** Makes the folder a run's own: empties it where it is overwritten, and saves the resolved configuration in it. */
export async function claimOutputFolder(config: ResolvedConfig): Promise<void> {
  const { folder, overwrite } = config.output;
  if (folder === null) return;
  await checkOutputFolder(config);
  try {
    if (overwrite && !goesOn(folder, config.training.resumeFromCheckpoint)) {
      for (const entry of await entriesOf(folder)) await rm(join(folder, entry), { recursive: true });
    }
    await makeFolder(folder);
  } catch (cause) {
    throw fileError(cause, folder);
  }
  await writeAtomically(join(folder, RESOLVED_CONFIG_FILE), async (handle) =>
    handle.writeFile(`${JSON.stringify(config, null, 2)}\n`),
  );
}

/** The file that says what data a run learned from. */
const DATA_MANIFEST_FILE = 'data.json';

/** Saves what the data was made of, where its source tells. */
export async function saveDataManifest(
  folder: string | null,
  train: BatchSource,
  evaluation: BatchSource | null,
): Promise<void> {
  const manifest = { train: train.summary.manifest ?? null, eval: evaluation?.summary.manifest ?? null };
  if (folder === null || (manifest.train === null && manifest.eval === null)) return;
  await writeAtomically(join(folder, DATA_MANIFEST_FILE), async (handle) =>
    handle.writeFile(`${JSON.stringify(manifest, null, 2)}\n`),
  );
}
