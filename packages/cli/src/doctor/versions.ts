import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isRecord } from '@whetstone/core/util';
import { orReason, isReason, type Section } from './section.js';

const requireHere = createRequire(import.meta.url);

/** Packages of tfjs that a user may install besides: the first two are also dependencies. */
const TFJS = [
  '@tensorflow/tfjs-core',
  '@tensorflow/tfjs-backend-cpu',
  '@tensorflow/tfjs-backend-wasm',
  '@tensorflow/tfjs-node',
  '@tensorflow/tfjs-node-gpu',
];
const OWN = ['core', 'backend', 'models', 'data', 'strategies', 'plugins', 'evaluation'].map(
  (name) => `@whetstone/${name}`,
);

/** Reads the package.json above a file. */
function packageAbove(file: string, name: string | null): Readonly<Record<string, unknown>> {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    const candidate = join(folder, 'package.json');
    if (existsSync(candidate)) {
      const content: unknown = JSON.parse(readFileSync(candidate, 'utf8'));
      if (isRecord(content) && (name === null ? 'version' in content : content['name'] === name)) return content;
    }
    if (dirname(folder) === folder) throw new Error(`The package.json of ${String(name)} was not found.`);
  }
}

/** Returns the version of an installed package; null if it is not installed. */
function versionOf(name: string): string | null {
  let file: string;
  try {
    file = requireHere.resolve(name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') return null;
    throw error;
  }
  return String(packageAbove(file, name)['version']);
}

/** Returns the C library of Linux with its version: packages with native code are built for one. */
function cLibrary(): string {
  if (process.platform !== 'linux') return 'that of the system';
  const report = process.report as NodeJS.ProcessReport & { excludeNetwork?: boolean };
  // Without it, the report looks up the names of all open connections.
  report.excludeNetwork = true;
  const { header } = report.getReport() as { readonly header?: { readonly glibcVersionRuntime?: string } };
  return header?.glibcVersionRuntime === undefined ? 'musl, or unknown' : `glibc ${header.glibcVersionRuntime}`;
}

/** Returns whether a version satisfies the `engines` of the package, such as `>=20.3.0`. */
function isSupported(version: string, engines: string): boolean {
  const numbers = (text: string): number[] => text.replace(/^\D+/, '').split('.').map(Number);
  const [own, least] = [numbers(version), numbers(engines)];
  for (const [index, minimum] of least.entries()) if (own[index] !== minimum) return (own[index] ?? 0) > minimum;
  return true;
}

/** Versions of Whetstone, Node.js, the system and the packages of tfjs. */
export async function versions(): Promise<Section> {
  const self = packageAbove(fileURLToPath(import.meta.url), 'whetstone');
  const engines = isRecord(self['engines']) ? String(self['engines']['node']) : '';
  const packages: Record<string, string | null | { readonly error: string }> = {};
  for (const name of [...OWN, ...TFJS]) packages[name] = await orReason(() => versionOf(name));
  const libc = await orReason(cLibrary);
  const system = `${process.platform} ${process.arch}, ${release()}`;
  const data = { whetstone: self['version'], node: process.version, system, libc, packages };
  const differing = OWN.filter((name) => packages[name] !== self['version']);
  const shown = (value: unknown): string => (isReason(value) ? value.error : (value ?? 'not installed')) as string;
  return {
    data,
    rows: [
      ['whetstone', String(self['version'])],
      ...differing.map((name) => [name, shown(packages[name])] as const),
      ['Node.js', process.version],
      ['system', system],
      ['C library', shown(libc)],
      ...TFJS.map((name) => [name, shown(packages[name])] as const),
    ],
    problems: isSupported(process.version, engines)
      ? []
      : [`Node.js ${process.version} is too old: Whetstone needs ${engines}.`],
  };
}
