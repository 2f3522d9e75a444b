// Checks what would be published, without publishing it: prints the files of each package with their sizes, and fails
// if a package lacks something, publishes something that it should not, or names another version of a package of this
// repository. Needs the build, but no network. `node scripts/publish-check.mjs [REPOSITORY]`, or
// `npm run release:check`.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url)));

const required = ['package.json', 'README.md', 'LICENSE'];
const allowed = /^(?:package\.json|README\.md|LICENSE(?:\.[\w-]+)*|(?:bin|dist|schemas)\/.+)$/;
const forbidden = [
  [/\.test[.-]|(?:^|\/)(?:testing\/|test-support\.)|tfjs-suite/, 'belongs to the tests'],
  [/\.tsbuildinfo$/, 'is a file of the compiler'],
  [/(?<!\.d)\.[cm]?ts$/, 'is a source'],
];

/** The packages of the repository: their folders and manifests. */
function readPackages() {
  return readdirSync(join(root, 'packages'))
    .map((name) => join('packages', name))
    .filter((folder) => existsSync(join(root, folder, 'package.json')))
    .map((folder) => ({ folder, manifest: JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) }));
}

/** Runs `npm publish --dry-run`. @returns the files that it would publish, by the name of the package */
function dryRun(folders) {
  // A dry run sends nothing. It asks the registry for published versions, and continues without an answer.
  const registry = ['--registry', 'http://127.0.0.1:9', '--fetch-retries', '0'];
  const workspaces = folders.flatMap((folder) => ['--workspace', folder]);
  const parameters = ['publish', '--dry-run', '--json', '--ignore-scripts', '--access', 'public'];
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)));
  const { status, stdout, stderr } = spawnSync('npm', [...parameters, ...registry, ...workspaces], {
    cwd: root,
    env: { ...env, npm_config_cache: process.env.npm_config_cache, npm_config_noproxy: '127.0.0.1' },
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    shell: process.platform === 'win32',
  });
  if (status !== 0) throw new Error(`"npm publish --dry-run" failed. Its output says why:\n${stderr}`);
  // npm prints nothing if it would publish nothing.
  return new Map(Object.values(JSON.parse(stdout || '{}')).map(({ name, files }) => [name, files]));
}

/** What is wrong with the files of a package. */
function problemsOfFiles({ folder, manifest }, paths) {
  const has = new Set(paths);
  const problems = required.filter((path) => !has.has(path)).map((path) => `${path} is missing. Add it to ${folder}.`);
  for (const path of paths) {
    if (!allowed.test(path))
      problems.push(`${path} is published, but only dist, bin, schemas, README.md and LICENSE may be. Check "files".`);
    for (const [pattern, reason] of forbidden)
      if (pattern.test(path)) problems.push(`${path} is published, but ${reason}. Exclude it in "files".`);
  }

  const target = (where, path) => {
    if (!has.has(posix.normalize(path)))
      problems.push(`${where} names ${path}, which is not published. Build the package, or correct the path.`);
  };
  for (const [name, path] of Object.entries(manifest.bin ?? {})) target(`bin.${name}`, path);
  if (manifest.exports?.['.']?.types === undefined)
    problems.push('exports["."] has no "types". Add the declaration file that the build writes.');
  for (const [name, conditions] of Object.entries(manifest.exports ?? {})) {
    // A path without conditions is for a worker thread or a bundler's output: nobody imports it from TypeScript.
    if (typeof conditions === 'string') target(`exports["${name}"]`, conditions);
    else {
      if (conditions.types === undefined) problems.push(`exports["${name}"] has no "types". Add the declaration file.`);
      for (const [condition, path] of Object.entries(conditions)) target(`exports["${name}"].${condition}`, path);
    }
  }
  return problems;
}

/** What is wrong with the contents of a package: source maps that point outside, and paths of this machine. */
function problemsOfContents({ folder }, paths) {
  const has = new Set(paths);
  return paths.flatMap((path) => {
    const text = readFileSync(join(root, folder, path), 'utf8');
    const beside = (other) => posix.normalize(posix.join(posix.dirname(path), other));
    const problems = [];
    if (text.includes(root)) problems.push(`${path} names the folder of this repository. Find out what writes it.`);
    const [, map = 'data:'] = /^\/\/# sourceMappingURL=(\S+)\s*$/m.exec(text) ?? [];
    if (!map.startsWith('data:') && !has.has(beside(map)))
      problems.push(`${path} names the source map ${map}, which is not published. Build without source maps.`);
    if (path.endsWith('.map')) {
      const { sources = [], sourcesContent = [], sourceRoot = '' } = JSON.parse(text);
      const outside = sources.filter((source, at) => !sourcesContent[at] && !has.has(beside(sourceRoot + source)));
      for (const source of outside)
        problems.push(`${path} points to ${source}, which is not published. Build without source maps.`);
    }
    return problems;
  });
}

/** What is wrong with the versions: all packages have one, and depend on one another by exactly that. */
function problemsOfVersions({ manifest }, packages) {
  const versions = new Map(packages.map((other) => [other.manifest.name, other.manifest.version]));
  const [expected] = versions.values();
  const problems = [];
  if (manifest.version !== expected)
    problems.push(`The version is ${manifest.version}, that of ${packages[0].manifest.name} is ${expected}.`);
  for (const kind of ['dependencies', 'peerDependencies', 'optionalDependencies'])
    for (const [name, range] of Object.entries(manifest[kind] ?? {}))
      if (versions.has(name) && range !== versions.get(name))
        problems.push(`${kind}["${name}"] is ${range}, expected ${versions.get(name)}. Run npm run release:version.`);
  if (manifest.description?.endsWith('.') !== true)
    problems.push('"description" is not a sentence. Write one for npm.');
  return problems;
}

const packages = readPackages();
const published = dryRun(packages.map(({ folder }) => folder));
let failures = 0;
for (const one of packages) {
  const { name, version } = one.manifest;
  const files = published.get(name);
  if (files === undefined) {
    console.error(`FAILED: ${name}: npm would not publish it. Is it private?`);
    failures++;
    continue;
  }
  const size = files.reduce((sum, file) => sum + file.size, 0);
  console.log(`\n${name} ${version}: ${files.length} files, ${(size / 1e6).toFixed(2)} MB`);
  for (const file of files) console.log(`${String(file.size).padStart(9)}  ${file.path}`);
  const paths = files.map(({ path }) => path);
  const problems = [
    ...problemsOfFiles(one, paths),
    ...problemsOfContents(one, paths),
    ...problemsOfVersions(one, packages),
  ];
  for (const problem of problems) console.error(`FAILED: ${name}: ${problem}`);
  failures += problems.length;
}
console.log(`\n${packages.length} packages, ${failures} problems`);
if (failures > 0) process.exitCode = 1;
