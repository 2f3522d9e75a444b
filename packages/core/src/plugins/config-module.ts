import { existsSync } from 'node:fs';
import { dirname, extname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { rawConfigOf, readConfigFile, withValue, type RawConfig } from '../config/index.js';
import { isWhetstoneError, WhetstoneError } from '../contract/index.js';
import { messageOf } from '../util/index.js';
import { defaultExport } from './default-export.js';
import { importShared, type SharedModules } from './shared-modules.js';

const MODULE_ENDINGS = ['.ts', '.mts', '.cts', '.js', '.mjs', '.cjs'];

/** Returns whether a path is that of a configuration in TypeScript or JavaScript. */
export const isConfigModule = (path: string): boolean => MODULE_ENDINGS.includes(extname(path).toLowerCase());

/**
 * Reads a configuration file: JSON, or a TypeScript or JavaScript module whose default export is the configuration. A
 * module is executed, and compiled in memory on every version of Node.
 *
 * @param sharedModules modules of this program that the configuration may import, such as `whetstone`
 * @throws `CONFIG_UNREADABLE` if the file cannot be read or executed, or exports no configuration
 */
export async function readConfig(path: string, sharedModules: SharedModules = {}): Promise<RawConfig> {
  return isConfigModule(path) ? readConfigModule(resolve(path), sharedModules) : readConfigFile(path);
}

async function readConfigModule(file: string, sharedModules: SharedModules): Promise<RawConfig> {
  const value = await importConfig(file, sharedModules);
  if (typeof value === 'function')
    throw new WhetstoneError('CONFIG_UNREADABLE', 'The configuration file exports a function.', {
      place: { file },
      expected: 'the configuration as the default export',
      found: 'a function',
      hint: 'Call it in the file: export default defineConfig(makeConfig());',
    });
  try {
    const raw = rawConfigOf(value, dirname(file));
    const located = {
      ...raw,
      file,
      locate: (where: Parameters<RawConfig['locate']>[0]) => ({ file, ...raw.locate(where) }),
    };
    return withValue(located, value);
  } catch (error) {
    if (isWhetstoneError(error)) throw WhetstoneError.with(error, { place: { file, ...error.place } });
    throw error;
  }
}

async function importConfig(file: string, sharedModules: SharedModules): Promise<unknown> {
  if (!existsSync(file))
    throw new WhetstoneError('CONFIG_UNREADABLE', 'The configuration file does not exist.', { place: { file } });
  try {
    const { createJiti } = await import('jiti');
    const jiti = createJiti(pathToFileURL(file).href, {
      fsCache: false,
      moduleCache: false,
      interopDefault: false,
      virtualModules: await importShared(sharedModules),
    });
    return defaultExport(await jiti.import(file));
  } catch (cause) {
    throw new WhetstoneError('CONFIG_UNREADABLE', `The configuration file cannot be executed: ${messageOf(cause)}`, {
      place: { file },
      cause,
    });
  }
}
