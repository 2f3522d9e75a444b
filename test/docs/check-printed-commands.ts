import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createProgram } from '../../packages/cli/src/command-line.js';
import { repository } from '../support/execute.js';
import type { DocumentationProblem } from './markdown.js';
import { commentPattern, type SourceFile } from './repository-files.js';

type Names = Readonly<Record<string, string>>;

interface Manifest {
  readonly name: string;
  readonly bin?: Names;
  readonly scripts?: Names;
  readonly dependencies?: Names;
  readonly devDependencies?: Names;
  readonly peerDependencies?: Names;
}

function readManifest(folder: string): Manifest | null {
  const file = join(repository, folder, 'package.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Manifest) : null;
}

/** The packages of this repository, which are published, by name. */
const packages = new Map(
  readdirSync(join(repository, 'packages')).flatMap((folder) => {
    const manifest = readManifest(`packages/${folder}`);
    return manifest === null ? [] : [[manifest.name, manifest] as const];
  }),
);
const root = readManifest('.') as Manifest;
const whetstoneCommands = createProgram()
  .commands.map((command) => command.name())
  .join('|');

/** Where a reader runs what a file prints. */
interface Reader {
  /** Names of commands that `npx` finds there. */
  readonly commands: ReadonlySet<string>;
  /** Packages that `npm install` may name, besides those of this repository. */
  readonly packages: ReadonlySet<string>;
  /** Scripts of `npm run`. */
  readonly scripts: ReadonlySet<string>;
}

const commandsOf = (manifests: readonly (Manifest | null)[]): ReadonlySet<string> =>
  new Set(manifests.flatMap((manifest) => Object.keys(manifest?.bin ?? {})));

const installed = (names: Names = {}): (Manifest | null)[] =>
  Object.keys(names).map((name) => packages.get(name) ?? readManifest(`node_modules/${name}`));

const inRepository: Reader = {
  commands: commandsOf([...packages.values(), ...installed(root.devDependencies)]),
  packages: new Set(Object.keys(root.devDependencies ?? {})),
  scripts: new Set(Object.keys(root.scripts ?? {})),
};

const readers = new Map<string, Reader>();

/** What is published of a package is read where only the package and its dependencies are installed. */
function readerOf(path: string): Reader {
  const folder = /^packages\/[^/]+/.exec(path)?.[0];
  const manifest = folder === undefined ? null : readManifest(folder);
  // A package's bin reports that the repository is not built, and test support is not published.
  if (manifest === null || /\/bin\/|\.test\.\w+$|test-support|\/(?:conformance|test-data)\//.test(path))
    return inRepository;
  const reader = readers.get(manifest.name) ?? {
    commands: commandsOf([manifest, ...installed(manifest.dependencies)]),
    packages: new Set(Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })),
    scripts: new Set<string>(),
  };
  readers.set(manifest.name, reader);
  return reader;
}

/**
 * Checks the commands in the messages of a source file, or in a page: `npx` and `npm` must find them where the file is
 * read. Otherwise they ask the registry for a package of that name, which may be anybody's.
 */
export function checkPrintedCommands({ path, text }: SourceFile): DocumentationProblem[] {
  const reader = readerOf(path);
  const problems: DocumentationProblem[] = [];
  // Strings that continue on the next line are joined; the number of lines stays.
  const printed = (path.endsWith('.md') ? text : withoutCommentsOnLines(text)).replaceAll(
    /['"`]\s*\+(\s*)['"`]/g,
    '$1',
  );
  const check = (pattern: RegExp, problemOf: (words: readonly string[]) => string | null): void => {
    for (const { 0: command, 1: words = '', index } of printed.matchAll(pattern)) {
      const message = problemOf(words.trim().split(/\s+/));
      const line = printed.slice(0, index).split('\n').length;
      if (message !== null) problems.push({ page: path, line, message: `${command.trim()}: ${message}` });
    }
  };

  check(/\bnpx\s+((?:-\S+\s+)*[@\w$./{-]+)/g, (words) => npxProblem(words.at(-1) ?? '', reader));
  if (!reader.commands.has('whetstone'))
    check(new RegExp(`(?<!npx\\s+)\\bwhetstone (?:${whetstoneCommands})\\b`, 'g'), () => notInstalled('whetstone'));
  check(/\bnpm (?:run|run-script) ([\w:-]+)/g, ([script = '']) =>
    reader.scripts.has(script) ? null : `There is no script '${script}' where this is read.`,
  );
  check(/\bnpm (?:i|install|add) ((?:[@\w$./{}:-]+ ?)+)/g, (words) => installProblem(words, reader));
  // A name in a scope that nobody here owns, which a reader may install. A manifest lists what npm has installed.
  if (!path.endsWith('package.json')) check(/"(@[a-z][\w-]*\/[\w.-]+)"/g, (words) => installProblem(words, reader));
  check(/\bnpm (?:create|init|exec|x) ([@\w$./{:-]+)/g, ([name = '']) =>
    packages.has(`create-${name}`) ? null : `create-${name} is not a package of this repository.`,
  );
  return problems;
}

const notInstalled = (name: string): string => `The command ${name} is not installed where this is read.`;

function npxProblem(name: string, { commands }: Reader): string | null {
  const own = packages.get(name);
  // `npx PACKAGE` runs the only command of a package.
  if (own !== undefined && name.startsWith('@') && Object.keys(own.bin ?? {}).length === 1) return null;
  return commands.has(name) ? null : notInstalled(name);
}

function installProblem(words: readonly string[], reader: Reader): string | null {
  const unknown = words.find(
    (word) =>
      // An option or a path. Nobody may own a name that the message inserts, even if the reader wrote it.
      !/^(?:-|\.|\/)/.test(word) && !packages.has(word) && !reader.packages.has(word),
  );
  return unknown === undefined ? null : `${unknown} is neither a package of this repository nor a dependency.`;
}

/** Source code whose comments are empty lines. */
const withoutCommentsOnLines = (text: string): string =>
  text.replaceAll(commentPattern, (comment) => '\n'.repeat(comment.split('\n').length - 1));
