import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Returns the user's home folder. A container can run as a user without one, and then Node.js throws. The folder that
 * systems name for such users is used instead: it does not exist, so that nothing is cached there.
 */
function homeFolder(): string {
  try {
    return homedir() || NO_HOME;
  } catch {
    return NO_HOME;
  }
}

const NO_HOME = join('/', 'nonexistent');

/**
 * Returns the folder for downloaded libraries and models, without creating it. It is `WHETSTONE_CACHE`, or `whetstone`
 * in `XDG_CACHE_HOME` or in the platform's cache folder.
 */
export function cacheFolder(
  environment: Environment = process.env,
  platform: NodeJS.Platform = process.platform,
  home: string = homeFolder(),
): string {
  if (environment['WHETSTONE_CACHE']) return resolve(environment['WHETSTONE_CACHE']);
  if (environment['XDG_CACHE_HOME']) return resolve(environment['XDG_CACHE_HOME'], 'whetstone');
  if (platform === 'win32')
    return join(environment['LOCALAPPDATA'] ?? join(home, 'AppData', 'Local'), 'whetstone', 'Cache');
  if (platform === 'darwin') return join(home, 'Library', 'Caches', 'whetstone');
  return join(home, '.cache', 'whetstone');
}
