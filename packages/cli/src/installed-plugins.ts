import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { isRecord } from '@whetstone/core/util';

/** The keyword of a package that contains plugins. */
const PLUGIN_KEYWORD = 'whetstone-plugin';

/** An installed package with plugins, as its package.json describes it. */
export interface PluginPackage {
  readonly name: string;
  readonly version: string;
  readonly description: string;
}

/** Returns the folders in which Node.js looks for packages of a folder, the nearest first. */
export function packageFolders(folder: string): readonly string[] {
  const parent = dirname(resolve(folder));
  const own = join(resolve(folder), 'node_modules');
  return parent === resolve(folder) ? [own] : [own, ...packageFolders(parent)];
}

/** Returns the keywords of a package.json: a list, or a text that npm splits. */
function keywordsOf({ keywords }: Readonly<Record<string, unknown>>): readonly unknown[] {
  if (typeof keywords === 'string') return keywords.split(/[,\s]+/);
  return Array.isArray(keywords) ? keywords : [];
}

/** Reads the package of a folder without running its code; null if it is not a package with the keyword. */
export function readPluginPackage(folder: string): PluginPackage | null {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  } catch {
    return null;
  }
  if (!isRecord(content) || !keywordsOf(content).includes(PLUGIN_KEYWORD)) return null;
  const text = (key: string): string => (typeof content[key] === 'string' ? content[key] : '');
  return { name: text('name'), version: text('version'), description: text('description') };
}

const namesIn = (folder: string): readonly string[] => {
  try {
    return readdirSync(folder).filter((name) => !name.startsWith('.'));
  } catch {
    return [];
  }
};

/** Returns the packages with the keyword `whetstone-plugin` that are installed for a folder, by name. */
export function installedPlugins(folder: string): readonly PluginPackage[] {
  const found = new Map<string, PluginPackage>();
  for (const packages of packageFolders(folder)) {
    const names = namesIn(packages).flatMap((name) =>
      name.startsWith('@') ? namesIn(join(packages, name)).map((own) => `${name}/${own}`) : [name],
    );
    for (const name of names) {
      const plugin = found.has(name) ? null : readPluginPackage(join(packages, name));
      if (plugin !== null) found.set(name, { ...plugin, name });
    }
  }
  return [...found.values()].toSorted((a, b) => a.name.localeCompare(b.name));
}
