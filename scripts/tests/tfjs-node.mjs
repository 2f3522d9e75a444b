// Runs the numeric tests and those of training on @tensorflow/tfjs-node. Its install script downloads a binding and a
// library, so its binding is compiled here instead, for the libtensorflow that `whetstone backend install cpu` fetches.
// `npm run test:tfjs-node -- [vitest arguments]`; it needs a C++ compiler, which CXX may name.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import util from 'node:util';
import { findTensorflow, installWheel, tensorflowCpuWheel } from '@whetstone/backend/install';
import { repository } from './report.mjs';

const version = '4.22.0';
const tests = ['test/numerics', 'test/engine/resume.test.ts', 'test/strategies', 'test/trainer'];

if (util.isNullOrUndefined === undefined) {
  console.error(
    `@tensorflow/tfjs-node ${version} does not run on Node.js ${process.versions.node}: it calls ` +
      'util.isNullOrUndefined and util.isArray, which Node.js 23 removed. Run this on Node.js 20 or 22.',
  );
  process.exit(1);
}

const library = await findTensorflow();
if ('reasons' in library) throw new Error(`No libtensorflow: ${library.reasons.join(', ')}.`);
// The headers are in the same wheel as the library, and stay in the cache like it.
const wheel = tensorflowCpuWheel();
const kept = /^tensorflow\/include\/(tensorflow\/c|xla\/tsl\/c|(tensorflow\/core|tsl|xla\/tsl)\/platform)\/.*\.h$/;
const headers = await installWheel(
  { name: 'tensorflow-headers', version: wheel.version, wheels: [{ ...wheel, unpackedBytes: 1e6, keep: kept }] },
  { onMessage: console.error },
);

const folder = mkdtempSync(join(tmpdir(), 'whetstone-tfjs-node-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
const modules = join(folder, 'node_modules');
const run = (program, parameters) => execFileSync(program, parameters, { cwd: folder, stdio: 'inherit' });

writeFileSync(join(folder, 'package.json'), '{ "private": true }');
run('npm', [
  'install',
  '--ignore-scripts',
  '--no-audit',
  '--no-fund',
  `@tensorflow/tfjs-node@${version}`,
  'node-api-headers@1.9.0',
]);
// One copy of tfjs-core: the one that Whetstone uses.
for (const name of ['@tensorflow/tfjs-core', '@tensorflow/tfjs-backend-cpu']) {
  rmSync(join(modules, name), { recursive: true });
  symlinkSync(join(repository, 'node_modules', name), join(modules, name), 'junction');
}

const root = join(modules, '@tensorflow/tfjs-node');
const bindings = join(root, 'lib/napi-v8');
const libraries = readdirSync(library.folder)
  .filter((name) => /^libtensorflow_(cc|framework)\./.test(name))
  .map((name) => join(library.folder, name));
mkdirSync(bindings, { recursive: true });
console.log('Compiling the binding of @tensorflow/tfjs-node.');
const compiled = ['tfjs_backend.cc', 'tfjs_binding.cc'].map((name) => join(root, 'binding', name));
const includes = [join(modules, 'node-api-headers/include'), join(headers, 'tensorflow/include')];
const options = ['-std=c++17', '-O2', '-shared', '-fPIC', '-w', '-DNAPI_VERSION=8'];
if (process.platform === 'darwin') options.push('-undefined', 'dynamic_lookup');
options.push(...includes.map((path) => `-I${path}`), `-Wl,-rpath,${library.folder}`);
run(process.env.CXX ?? 'c++', [...options, ...compiled, ...libraries, '-o', join(bindings, 'tfjs_binding.node')]);

const vitest = join(repository, 'node_modules/vitest/vitest.mjs');
const parameters = process.argv.length > 2 ? process.argv.slice(2) : tests;
const { status } = spawnSync(process.execPath, [vitest, 'run', ...parameters], {
  cwd: repository,
  stdio: 'inherit',
  // The packages of this repository find tfjs-node here.
  env: { ...process.env, NODE_PATH: modules, WHETSTONE_TEST_BACKEND: 'tensorflow' },
});
process.exitCode = status ?? 1;
