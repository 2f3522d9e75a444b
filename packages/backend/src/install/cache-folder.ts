import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Returns the folder for downloaded libraries and models, without creating it. It is `WHETSTONE_CACHE`, or `whetstone`
 * in `XDG_CACHE_HOME` or in the platform's cache folder.
 */
export function cacheFolder(
  environment: Environment = process.env,
  platform: NodeJS.Platform = process.platform,
  home: string = homedir(),
): string {
  if (environment['WHETSTONE_CACHE']) return resolve(environment['WHETSTONE_CACHE']);
  if (environment['XDG_CACHE_HOME']) return resolve(environment['XDG_CACHE_HOME'], 'whetstone');
  if (platform === 'win32')
    return join(environment['LOCALAPPDATA'] ?? join(home, 'AppData', 'Local'), 'whetstone', 'Cache');
  if (platform === 'darwin') return join(home, 'Library', 'Caches', 'whetstone');
  return join(home, '.cache', 'whetstone');
}
