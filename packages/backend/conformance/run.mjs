// Runs tfjs-core's test suite, from its npm package, on the backend `whetstone`.
// Usage: npm run test:tfjs -- [--engine tensorflow] [--only TEXT] [--share N] [--json]
// --only runs the specs whose name contains a text, --share every Nth spec. exceptions-<engine>.json lists known
// failures with their reason. Any other failure fails the run, and so does an exception that passes, unless its failure
// depends on the processor.
import { readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';

const { values: options } = parseArgs({
  options: {
    engine: { type: 'string', default: 'tensorflow' },
    only: { type: 'string' },
    share: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  },
});
const require = createRequire(import.meta.url);
const tfjs = join(dirname(require.resolve('@tensorflow/tfjs-core/package.json')), 'dist');
const exceptions = JSON.parse(readFileSync(new URL(`exceptions-${options.engine}.json`, import.meta.url), 'utf8'));

// The suite needs Jasmine's globals when it is loaded.
const jasmineRequire = require('jasmine-core');
const jasmine = jasmineRequire.boot(jasmineRequire);
jasmine.DEFAULT_TIMEOUT_INTERVAL = 60_000;
const jasmineEnvironment = jasmine.getEnv();
Object.assign(globalThis, jasmineRequire.interface(jasmine, jasmineEnvironment), { jasmine });

// In the backend's dist folder, from where jasmine-core resolves.
const bundle = fileURLToPath(new URL(`../dist/tfjs-suite-${process.pid}.cjs`, import.meta.url));
process.on('exit', () => rmSync(bundle, { force: true }));
await build({
  stdin: {
    contents: `
      import { setTestEnvs } from ${JSON.stringify(join(tfjs, 'jasmine_util'))};
      import ${JSON.stringify(join(tfjs, 'public/chained_ops/register_all_chained_ops'))};
      import ${JSON.stringify(join(tfjs, 'register_all_gradients'))};
      setTestEnvs([{ name: 'whetstone', backendName: 'whetstone', flags: {}, isDataSync: true }]);
      require(${JSON.stringify(join(tfjs, 'tests'))});`,
    resolveDir: tfjs,
  },
  outfile: bundle,
  bundle: true,
  format: 'cjs',
  platform: 'node',
  ignoreAnnotations: true,
  external: ['jasmine-core'],
  logLevel: 'error',
});

const { findTensorflow, findXlaPlugin } = await import('@whetstone/backend/install');
const { registerWhetstoneBackend } = await import('@whetstone/backend');
const found = options.engine === 'xla' ? await findXlaPlugin() : await findTensorflow();
if ('reasons' in found) {
  console.error(
    `The library of the engine ${options.engine} is missing: ${found.reasons.join(', ')}. Fetch it with: npx ` +
      `whetstone backend install ${options.engine === 'xla' ? 'xla-cpu' : 'cpu'}`,
  );
  process.exit(1);
}
const backend = await registerWhetstoneBackend(
  options.engine === 'xla' ? { engine: 'xla', plugin: found.path } : { libraryFolder: found.folder },
);
require(bundle);

const failed = [];
const counts = { passed: 0, failed: 0, skipped: 0 };
const share = Number(options.share);
let seen = 0;
jasmineEnvironment.configure({
  random: false,
  specFilter: (spec) =>
    (options.only === undefined || spec.getFullName().includes(options.only)) && seen++ % share === 0,
});
jasmineEnvironment.addReporter({
  specDone(result) {
    if (result.status === 'passed') counts.passed++;
    else if (result.status === 'failed') {
      counts.failed++;
      failed.push({ name: result.fullName, message: result.failedExpectations[0]?.message ?? '' });
    } else counts.skipped++;
  },
});
await jasmineEnvironment.execute();

const unexpected = failed.filter(({ name }) => exceptions[name] === undefined);
const failedNames = new Set(failed.map(({ name }) => name));
const fixed =
  options.only === undefined && share === 1
    ? Object.keys(exceptions).filter((name) => !failedNames.has(name) && exceptions[name].onSomeProcessors !== true)
    : [];
if (options.json)
  console.log(
    JSON.stringify({
      engine: options.engine,
      ...counts,
      exceptions: failed.length - unexpected.length,
      unexpected,
      fixed,
      counters: backend.counters(),
    }),
  );
else {
  for (const { name, message } of unexpected) console.log(`FAILED ${name}\n       ${message.split('\n')[0]}`);
  for (const name of fixed) console.log(`PASSES, remove it from the exceptions: ${name}`);
  console.log(
    `${counts.passed} passed, ${unexpected.length} failed, ${failed.length - unexpected.length} known ` +
      `exceptions, ${counts.skipped} not for this backend`,
  );
}
process.exitCode = unexpected.length > 0 || fixed.length > 0 ? 1 : 0;
