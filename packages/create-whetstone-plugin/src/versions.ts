import { readFileSync } from 'node:fs';

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  readonly version: string;
  readonly engines: { readonly node: string };
};

/** The version of this package and of all packages of Whetstone. */
export const { version } = manifest;

/** The versions of Node.js that Whetstone supports. */
export const nodeRange = manifest.engines.node;

/** Versions of packages of others with which plugins are developed. A test compares them with those of Whetstone. */
export const otherVersions = {
  '@tensorflow/tfjs-backend-cpu': '4.22.0',
  '@tensorflow/tfjs-core': '4.22.0',
  '@types/node': '^20.19.43',
  typescript: '^7.0.2',
  vitest: '^4.1.12',
} as const;

/** Returns the range of versions of a package that a plugin imports or is developed with. */
export function rangeOf(name: string): string {
  if (name === 'whetstone' || name.startsWith('@whetstone/')) return `^${version}`;
  const range = Object.entries(otherVersions).find(([other]) => other === name)?.[1];
  if (range === undefined) throw new Error(`The version of ${name} is not listed in versions.ts.`);
  return range;
}
