import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { AdapterFiles, Json, StrategyRun } from '@whetstone/core/contract';
import { hashBase } from '@whetstone/core/safetensors';
import { isRecord } from '@whetstone/core/util';
import { unknownFieldsWarning } from './known-fields.js';

/** The model on which an adapter is used. */
interface UsedModel {
  /** Null for a model that was made in memory. */
  readonly folder: string | null;
  readonly config: Readonly<Record<string, Json>>;
}

/**
 * Returns a warning if an adapter was trained on another base model than it is used on; null otherwise, or if that
 * cannot be known. Weights decide if both are known: by the hash that the adapter's folder records, or if
 * `base_model_name_or_path` is a folder that still exists. Otherwise the names are compared, without their folders.
 */
async function baseWarning(model: UsedModel, files: AdapterFiles): Promise<string | null> {
  const name = isRecord(files.config) ? files.config['base_model_name_or_path'] : null;
  const recorded = files.folder === undefined ? null : await recordedBase(files.folder);
  const trainedOn = recorded?.folder ?? (typeof name === 'string' && name !== '' ? name : null);
  const used = model.folder ?? nameOf(model);
  if (used === null || (trainedOn === null && recorded === null)) return null;
  const before = recorded?.hash ?? (trainedOn === null ? null : await hashOfFolder(trainedOn));
  const now = before === null ? null : await hashBase(model.folder);
  if (before !== null && now !== null)
    return before === now
      ? null
      : `The adapter was trained on ${trainedOn ?? 'another model'}, whose weights differ from those of ${used}. ` +
          'Its results are undefined there: use the model that it was trained on.';
  if (trainedOn === null || isSameName(trainedOn, model)) return null;
  return (
    `The adapter was trained on ${trainedOn}, according to its base_model_name_or_path, and is used on ${used}. ` +
    'If that is another model, its results are undefined.'
  );
}

/** Returns the base model that a run recorded in the folder of its adapter; null if there is none. */
async function recordedBase(folder: string): Promise<{ readonly folder: string | null; readonly hash: string } | null> {
  const text = await readFile(join(folder, 'whetstone.json'), 'utf8').catch(() => '{}');
  const base = parsed(text)?.['base'];
  if (!isRecord(base) || typeof base['sha256'] !== 'string') return null;
  return { folder: typeof base['folder'] === 'string' ? base['folder'] : null, hash: base['sha256'] };
}

function parsed(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const content: unknown = JSON.parse(text);
    return isRecord(content) ? content : null;
  } catch {
    // The file is not by a run.
    return null;
  }
}

const hashOfFolder = async (path: string): Promise<string | null> =>
  existsSync(join(path, 'config.json')) ? hashBase(resolve(path)).catch(() => null) : null;

const nameOf = ({ config }: UsedModel): string | null => {
  const name = config['_name_or_path'];
  return typeof name === 'string' && name !== '' ? name : null;
};

/** Returns whether a name or path can be that of a model: the last part agrees, also in the cache of Hugging Face. */
function isSameName(trainedOn: string, model: UsedModel): boolean {
  const lastPart = (name: string): string => basename(name.replaceAll('\\', '/').replace(/\/+$/, '')).toLowerCase();
  const { folder } = model;
  const cached = folder === null ? undefined : /models--(?:[^/\\]+--)?([^/\\]+)/.exec(folder)?.[1];
  const names = [folder, nameOf(model), cached].flatMap((one) => (one === null || one === undefined ? [] : [one]));
  const trained = /models--(?:[^/\\]+--)?([^/\\]+)/.exec(trainedOn)?.[1] ?? trainedOn;
  return names.some((one) => lastPart(one) === lastPart(trained));
}

/** Options of functions that read an adapter. */
export interface ReadOptions {
  /**
   * Receives a warning if the adapter was trained on another model, and one about unknown fields of its configuration.
   * By default they are warnings of the process.
   */
  readonly warn?: ((message: string) => void) | undefined;
}

/** Emits a warning of the process, for programs that pass no function. */
export const emitWarning = (message: string): void => process.emitWarning(message);

/** Returns the warnings about an adapter: that of {@link baseWarning}, and about unknown fields. */
export async function adapterWarnings(model: UsedModel, files: AdapterFiles): Promise<readonly string[]> {
  const warnings = [await baseWarning(model, files), unknownFieldsWarning(files)];
  return warnings.filter((warning) => warning !== null);
}

/** Reports the warnings about the adapter whose training continues. */
export async function warnAboutAdapter(
  model: UsedModel,
  files: AdapterFiles,
  { modelFolder, warn = emitWarning }: Pick<StrategyRun, 'modelFolder' | 'warn'>,
): Promise<void> {
  const warnings = await adapterWarnings({ folder: modelFolder ?? model.folder, config: model.config }, files);
  for (const warning of warnings) warn(warning);
}
