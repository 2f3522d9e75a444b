// Installs the packed packages into an empty project, as a user would, and measures the installation: packages, size,
// the largest ones, and the time and memory of `import 'whetstone'`. Then trains one step there, on a machine without
// libraries. Fails if the installation is too large or the step fails. Times are printed, not judged: they depend on
// the machine. `npm run test:install -- [--maximum MB]`
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createBareEnvironment } from './bare-environment.mjs';
import { openScratchProject } from './scratch-project.mjs';

const { values } = parseArgs({ options: { maximum: { type: 'string', default: '90' } } });
/** The largest size of an installation, in MB (10^6 bytes) of file contents. */
const maximum = Number(values.maximum);
const PROCESSES = 5;

const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
const median = (numbers) => numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)];

/** Sizes in bytes of all packages in a `node_modules` folder, nested ones on their own. */
function packageSizes(modules) {
  const sizes = new Map();
  for (const entry of readdirSync(modules, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const name = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path.replaceAll('\\', '/'))?.[1];
    // Files beside the packages are npm's own list of what it installed.
    if (name !== undefined && !name.startsWith('.')) sizes.set(name, (sizes.get(name) ?? 0) + statSync(path).size);
  }
  return sizes;
}

const total = (sizes) => [...sizes.values()].reduce((sum, size) => sum + size, 0);

/** Prints what the installation consists of. @returns whether its size is allowed */
function reportSizes(sizes) {
  const largest = [...sizes].toSorted(([, one], [, other]) => other - one);
  console.log(`whetstone: ${sizes.size} packages, ${megabytes(total(sizes))} MB`);
  for (const [name, size] of largest.slice(0, 10)) console.log(`${megabytes(size).padStart(8)} MB  ${name}`);
  if (total(sizes) <= maximum * 1e6) return true;
  console.error(`FAILED: the installation is too large.
  expected: at most ${maximum} MB of files
  found:    ${megabytes(total(sizes))} MB in ${sizes.size} packages
  what to do: find the cause in the list above. Use a smaller package, publish fewer files ("files" in package.json), or
  bundle what is used of a package at build, as scripts/bundle-phone-numbers.mjs does.`);
  return false;
}

/** Runs a program of the project in a new process. @returns the JSON that it prints last, and its wall time in ms */
function runProgram(program, cwd, env) {
  const begun = performance.now();
  const { status, stdout, stderr, error } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    cwd,
    env,
    encoding: 'utf8',
  });
  const wall = performance.now() - begun;
  if (status !== 0) throw new Error(`A program of the installation failed.\n${program}\n${error ?? stderr}`);
  return { wall, printed: JSON.parse(stdout.trim().split('\n').at(-1)) };
}

/** Prints the time and the resident memory of a process that imports `whetstone`, and of one that does nothing. */
function reportImport(folder, env) {
  const measure = (program) => {
    const runs = Array.from({ length: PROCESSES }, () =>
      runProgram(
        `${program}
        const { user, system } = process.cpuUsage();
        console.log(JSON.stringify({ processor: (user + system) / 1000, memory: process.memoryUsage.rss() }));`,
        folder,
        env,
      ),
    );
    return {
      wall: median(runs.map(({ wall }) => wall)),
      processor: median(runs.map(({ printed }) => printed.processor)),
      memory: median(runs.map(({ printed }) => printed.memory)),
    };
  };
  const empty = measure('');
  const full = measure("import 'whetstone';");
  const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(2)} s`;
  const line = ({ wall, processor, memory }) =>
    `${seconds(wall)}, ${seconds(processor)} of processor time, ${megabytes(memory)} MB of memory`;
  console.log(`medians of ${PROCESSES} processes:\n  import 'whetstone': ${line(full)}\n  no import: ${line(empty)}`);
}

/** Trains one step of a tiny model with the installed package and the backend that it chooses. */
function trainOneStep(folder, env) {
  const rows = ['What is 1?', 'What is 2?'].map((content) => ({
    messages: [
      { role: 'user', content },
      { role: 'assistant', content: 'A number.' },
    ],
  }));
  writeFileSync(join(folder, 'train.jsonl'), `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`);
  const { printed } = runProgram(
    `import { createTinyModel, Trainer } from 'whetstone';
    await createTinyModel('tiny', { hiddenSize: 16, layers: 1 });
    const report = await new Trainer({
      model: './tiny', data: { train: 'train.jsonl', maxLength: 64 }, strategy: { use: 'lora', options: { rank: 2 } },
      training: { maxSteps: 1, perDeviceTrainBatchSize: 2 }, output: { folder: 'run' },
    }).run();
    console.log(JSON.stringify(report));`,
    folder,
    env,
  );
  if (printed.steps !== 1 || printed.backend !== 'wasm')
    throw new Error(
      `Expected one step on the backend wasm, found ${printed.steps} on ${printed.backend}. ` +
        'Does the installation still bring @tensorflow/tfjs-backend-wasm?',
    );
  readdirSync(join(folder, 'run/adapter'));
  console.log(`one training step: done on ${printed.backend}`);
}

const machine = createBareEnvironment();
const folder = join(machine.folder, 'project');
mkdirSync(folder);
try {
  const project = await openScratchProject(folder);
  try {
    await project.install('whetstone');
    const sizes = packageSizes(join(folder, 'node_modules'));
    if (!reportSizes(sizes)) process.exitCode = 1;
    reportImport(folder, machine.env);
    trainOneStep(folder, machine.env);

    await project.install('@whetstone/testing');
    const more = packageSizes(join(folder, 'node_modules'));
    console.log(`with @whetstone/testing and vitest: ${more.size} packages, ${megabytes(total(more))} MB`);
  } finally {
    await project.close();
  }
} finally {
  machine.remove();
}
