import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { subset } from 'semver';
import { describe, expect, it } from 'vitest';
import { repository } from './support/execute.js';

interface Package {
  readonly name?: string;
  readonly link?: boolean;
  readonly resolved?: string;
  readonly engines?: { readonly node?: string };
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const { packages } = JSON.parse(readFileSync(join(repository, 'package-lock.json'), 'utf8')) as {
  readonly packages: Readonly<Record<string, Package>>;
};

/** Where the lock file has a package that another one depends on: in its own folder, or in one above. */
function pathOf(name: string, from: string): string | null {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/')))) {
    const path = `${folder === '' ? '' : `${folder}/`}node_modules/${name}`;
    const found = packages[path];
    if (found !== undefined) return found.link === true ? (found.resolved ?? null) : path;
    if (folder === '') return null;
  }
}

/** Paths of all packages that some packages depend on at run time, these among them. */
function closure(roots: readonly string[]): ReadonlySet<string> {
  const found = new Set<string>();
  const visit = (path: string): void => {
    if (found.has(path)) return;
    found.add(path);
    const { dependencies, optionalDependencies } = packages[path] ?? {};
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const next = pathOf(name, path);
      if (next !== null) visit(next);
    }
  };
  roots.forEach(visit);
  return found;
}

/** Packages that do not support every Node.js of a range. */
const unsupported = (range: string, paths: Iterable<string>): string[] =>
  [...paths].filter((path) => !subset(range, packages[path]?.engines?.node ?? '*'));

describe('engines', () => {
  const workspaces = readdirSync(join(repository, 'packages')).map((folder) => `packages/${folder}`);

  it.each(workspaces)('%s: every dependency supports the Node.js versions that it states', (path) => {
    const range = packages[path]?.engines?.node ?? '*';
    const needed = closure([path]);
    expect(needed.size).toBeGreaterThan(1);
    expect(unsupported(range, needed)).toEqual([]);
  });

  it('the workspace: every tool supports the Node.js versions that it states', () => {
    const range = packages['']?.engines?.node ?? '*';
    const tools = ['', ...workspaces].flatMap((from) =>
      Object.keys(packages[from]?.devDependencies ?? {}).flatMap((name) => pathOf(name, from) ?? []),
    );
    expect(tools).toContain('node_modules/vitest');
    expect(unsupported(range, closure([...tools, ...workspaces]))).toEqual([]);
  });

  it('finds a dependency that does not', () => {
    expect(unsupported('>=20.3.0', ['node_modules/oxlint'])).toEqual(['node_modules/oxlint']);
  });

  it('every package of this workspace states the same versions', () => {
    expect(new Set(workspaces.map((path) => packages[path]?.engines?.node))).toEqual(new Set(['>=20.3.0']));
  });
});
