import { homedir, userInfo } from 'node:os';
import { basename } from 'node:path';
import { withoutCredentials } from '@whetstone/core/util';

/** User names that say nothing about a person, and are ordinary words. */
const GENERIC = new Set([
  'root',
  'user',
  'users',
  'home',
  'node',
  'nobody',
  'runner',
  'ubuntu',
  'admin',
  'app',
  'test',
]);

const SHORTEST_NAME = 2;

function attempt(read: () => string): string | undefined {
  try {
    return read();
  } catch {
    // A user without an entry in the system's list, or without a home folder.
    return undefined;
  }
}

/** Whose paths and name are hidden. */
interface Person {
  readonly homes: readonly string[];
  readonly names: readonly string[];
}

/** Returns the person who runs this process. */
export function thisPerson(environment: Readonly<Record<string, string | undefined>> = process.env): Person {
  const { HOME, USERPROFILE, USER, LOGNAME, USERNAME } = environment;
  const homes = [HOME, USERPROFILE, attempt(homedir), attempt(() => userInfo().homedir)].filter(
    (folder): folder is string => folder !== undefined && folder.length > 1,
  );
  const names = [USER, LOGNAME, USERNAME, attempt(() => userInfo().username), ...homes.map((home) => basename(home))];
  return {
    homes: [...new Set(homes)].toSorted((a, b) => b.length - a.length),
    names: [...new Set(names)].filter(
      (name): name is string => name !== undefined && name.length >= SHORTEST_NAME && !GENERIC.has(name.toLowerCase()),
    ),
  };
}

const literal = (text: string): string => text.replace(/[$()*+.?[\\\]^{|}]/g, String.raw`\$&`);

/**
 * Returns a function that removes credentials from a text, writes the home folder as `~`, and hides the name of the
 * user.
 */
export function createAnonymizer(
  { homes, names }: Person = thisPerson(),
  environment: Readonly<Record<string, string | undefined>> = process.env,
): (text: string) => string {
  const homePatterns = homes.map((home) => new RegExp(`${literal(home.replace(/[/\\]+$/, ''))}(?![\\w.-])`, 'g'));
  const namePatterns = names.map(
    (name) => new RegExp(`(?<![\\p{L}\\p{N}_])${literal(name)}(?![\\p{L}\\p{N}_])`, 'giu'),
  );
  return (text) => {
    let result = withoutCredentials(text, environment);
    for (const pattern of homePatterns) result = result.replace(pattern, '~');
    for (const pattern of namePatterns) result = result.replace(pattern, '<user>');
    return result;
  };
}

/** Returns JSON data with all of its strings changed. */
export function mapStrings(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value);
  if (Array.isArray(value)) return value.map((item) => mapStrings(item, change));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapStrings(item, change)]));
}
