// Checks the imports of the repository: every folder of `packages/` imports only what `import-rules.mjs` allows, and no
// files import each other in a cycle, type imports and dynamic imports included.
// Usage: node scripts/check-imports.mjs [folder of the repository]
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { parseSync } from 'oxc-parser';
import { mayImport } from './import-rules.mjs';

/**
 * @typedef {object} Import
 * @property {string} from file of the import, relative to the repository
 * @property {number} line
 * @property {string} specifier
 * @property {string} target the imported file, or for a file that the build generates its package and subpath
 */

const RULES = 'scripts/import-rules.mjs';
const isTest = (/** @type {string} */ file) =>
  /\.test(-d)?\.ts$|\/src\/(.*\/)?testing\/|\/test-support\.ts$/.test(file);

/** @param {string} root */
function workspacePackages(root) {
  const folders = readdirSync(join(root, 'packages')).map((name) => `packages/${name}`);
  return folders
    .filter((folder) => existsSync(join(root, folder, 'package.json')))
    .map((folder) => ({ folder, ...JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) }));
}

/** @param {string} root @param {string} folder @returns {string[]} source files, relative to the repository */
function sourceFiles(root, folder) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((file) => `${folder}/${file.split(sep).join('/')}`)
    .filter((file) => /\.(ts|mjs)$/.test(file) && !/\/(node_modules|dist)\//.test(file));
}

/** @param {string} source @returns {{ specifier: string; at: number }[]} */
function importsOf(source) {
  const { module } = parseSync('file.ts', source);
  const requests = [
    ...module.staticImports.map(({ moduleRequest }) => moduleRequest),
    ...module.staticExports.flatMap(({ entries }) => entries.flatMap(({ moduleRequest }) => moduleRequest ?? [])),
  ].map(({ value, start }) => ({ specifier: value, at: start }));
  const dynamic = module.dynamicImports.flatMap(({ moduleRequest: { start, end } }) => {
    const literal = /^['"`](.*)['"`]$/.exec(source.slice(start, end));
    return literal?.[1] === undefined ? [] : [{ specifier: literal[1], at: start }];
  });
  return [...requests, ...dynamic];
}

/** @param {string} root */
function createResolver(root) {
  const packages = workspacePackages(root);
  /** @param {string} path */
  const asSource = (path) =>
    [path.replace(/\.js$/, '.ts'), path]
      .map((file) => relative(root, file))
      .find((file) => existsSync(join(root, file)));
  /** @param {string} from @param {string} specifier @returns {string | undefined} undefined for other packages */
  return (from, specifier) => {
    if (specifier.startsWith('.')) return asSource(resolve(root, dirname(from), specifier));
    const owner = packages.find(({ name }) => specifier === name || specifier.startsWith(`${name}/`));
    if (owner === undefined) return undefined;
    const subpath = specifier.slice(owner.name.length);
    const exported = owner.exports?.[`.${subpath}`];
    const built = typeof exported === 'string' ? exported : exported?.default;
    const source = built && asSource(join(root, owner.folder, built.replace('./dist/', './src/')));
    // What the build generates has no source.
    return source ?? `${owner.folder}/src${subpath}`;
  };
}

/** @param {string} file @returns {string | undefined} `core/ops` for `packages/core/src/ops/storage.ts` */
function folderOf(file) {
  const [, name = '', path = ''] = /^packages\/([^/]+)\/src\/(.+)$/.exec(file) ?? [];
  const inside = `${name}/${path.replace(/\.ts$/, '').split('/')[0]}`;
  return [inside, name].find((folder) => Object.hasOwn(mayImport, folder)) ?? (path === '' ? undefined : inside);
}

const packageOf = (/** @type {string} */ file) => /^packages\/[^/]+/.exec(file)?.[0];

/** @param {Import} found @returns {string[]} */
function againstTheRules({ from, line, specifier, target }) {
  const where = `${from}:${line}`;
  if (specifier.startsWith('.') && packageOf(from) !== packageOf(target))
    return [`${where}: imports a file of another package by its path, ${specifier}. Import it by the package's name.`];
  const folder = folderOf(from);
  const wanted = folderOf(target);
  if (folder === undefined || wanted === undefined || folder === wanted) return [];
  const allowed = mayImport[folder];
  if (allowed === undefined)
    return [`${where}: ${folder} has no row in ${RULES}. Add one that lists what it may import.`];
  if (allowed.includes(wanted) || allowed.includes(wanted.split('/')[0] ?? '')) return [];
  return [
    `${where}: ${folder} may not import ${wanted}; it may import ${allowed.join(', ') || 'nothing of Whetstone'} ` +
      `(${RULES}). Move what both need into a folder that both may import, or pass it as an argument.`,
  ];
}

/**
 * One shortest cycle of each group of nodes that reach each other.
 *
 * @param {ReadonlyMap<string, ReadonlySet<string>>} graph @returns {string[][]}
 */
function cycles(graph) {
  /** @type {string[][]} */
  const found = [];
  /** @type {Set<string>} */
  const seen = new Set();
  for (const start of graph.keys()) {
    if (seen.has(start)) continue;
    const cycle = shortestCycle(graph, start);
    if (cycle === undefined) continue;
    found.push(cycle);
    for (const node of reachable(graph, start)) if (reachable(graph, node).has(start)) seen.add(node);
  }
  return found;
}

/** @param {ReadonlyMap<string, ReadonlySet<string>>} graph @param {string} start @returns {Set<string>} */
function reachable(graph, start) {
  /** @type {Set<string>} */
  const reached = new Set();
  const open = [...(graph.get(start) ?? [])];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (reached.has(node)) continue;
    reached.add(node);
    open.push(...(graph.get(node) ?? []));
  }
  return reached;
}

/** @param {ReadonlyMap<string, ReadonlySet<string>>} graph @param {string} start @returns {string[] | undefined} */
function shortestCycle(graph, start) {
  /** @type {Map<string, string>} */
  const cameFrom = new Map();
  const open = [start];
  for (const node of open) {
    for (const next of graph.get(node) ?? []) {
      if (next === start) {
        const path = [start];
        for (let step = node; step !== start; step = cameFrom.get(step) ?? start) path.unshift(step);
        return [start, ...path];
      }
      if (cameFrom.has(next)) continue;
      cameFrom.set(next, node);
      open.push(next);
    }
  }
  return undefined;
}

/** @param {readonly (readonly [string, string])[]} edges */
function graphOf(edges) {
  /** @type {Map<string, Set<string>>} */
  const graph = new Map();
  for (const [from, to] of edges) graph.set(from, (graph.get(from) ?? new Set()).add(to));
  return graph;
}

/** @param {string} root @returns {string[]} one message for each problem */
function checkImports(root) {
  const resolveImport = createResolver(root);
  /** @type {Import[]} */
  const imports = [];
  for (const from of ['packages', 'bench', 'test', 'scripts'].flatMap((folder) => sourceFiles(root, folder))) {
    const source = readFileSync(join(root, from), 'utf8');
    for (const { specifier, at } of importsOf(source)) {
      const target = resolveImport(from, specifier);
      if (target !== undefined) imports.push({ from, line: source.slice(0, at).split('\n').length, specifier, target });
    }
  }
  const shipped = imports.filter(({ from }) => from.startsWith('packages/') && from.includes('/src/') && !isTest(from));
  const files = graphOf(imports.map(({ from, target }) => [from, target]));
  const packages = graphOf(
    shipped.flatMap(({ from, target }) => {
      const [own = '', other = own] = [packageOf(from), packageOf(target)];
      return own === other ? [] : [[own, other]];
    }),
  );
  return [
    ...shipped.flatMap(againstTheRules),
    ...[...cycles(files), ...cycles(packages)].map(
      (cycle) =>
        `Import cycle: ${cycle.join(' → ')}. Move what they share into a file of its own, or pass it as an argument.`,
    ),
  ];
}

const problems = checkImports(resolve(process.argv[2] ?? '.'));
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
