import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { closeSync, mkdirSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findTensorflow, findXlaPlugin } from '@whetstone/backend/install';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { metricsOf, start, writeProject } from './support/workers.js';

/*
 * `whetstone train` on a machine with broken libraries: the next engine or backend trains, the log says why, and the
 * process ends by itself.
 */
const library = await findTensorflow();
const plugin = await findXlaPlugin();
const present = process.platform === 'linux' && 'folder' in library && 'path' in plugin;
if (!present)
  console.warn(
    'SKIPPED: bad libraries are made of good ones, on Linux. Fetch these with: npx whetstone backend install ' +
      'cpu; npx whetstone backend install xla-cpu',
  );
const hasCompiler = ((): boolean => {
  try {
    execFileSync('cc', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();
if (!hasCompiler)
  console.warn('SKIPPED: a plugin that ends its process is made with a C compiler. Install one, such as gcc.');

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-bad-libraries-'));
  if (present) await writeProject(folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The first bytes of a file. */
function beginning(path: string, length = 1 << 20): Buffer {
  const bytes = Buffer.alloc(length);
  const file = openSync(path, 'r');
  const read = readSync(file, bytes);
  closeSync(file);
  return bytes.subarray(0, read);
}

/** A small shared library for this machine: koffi's own. */
function someLibrary(): Buffer {
  const require = createRequire(createRequire(import.meta.url).resolve('koffi'));
  return readFileSync(
    require.resolve(`@koromix/koffi-${process.platform}-${process.arch}/linux_${process.arch}/koffi.node`),
  );
}

/** The same, said to be for another processor: e_machine of its ELF header. */
function forAnotherProcessor(): Buffer {
  const bytes = Buffer.from(someLibrary());
  bytes.writeUInt16LE(process.arch === 'x64' ? 183 : 62, 18);
  return bytes;
}

/** A folder that is taken for libtensorflow's. */
function tensorflowOf(name: string, bytes: Buffer): string {
  const made = join(folder, name);
  mkdirSync(made);
  for (const file of ['libtensorflow_framework.so.2', 'libtensorflow_cc.so.2']) writeFileSync(join(made, file), bytes);
  return made;
}

function pluginOf(name: string, bytes: Buffer): string {
  const made = join(folder, `${name}.so`);
  writeFileSync(made, bytes);
  return made;
}

/** Trains two steps, and gives what the run said of its backend. */
async function trainWith(environment: Readonly<Record<string, string>>): Promise<string> {
  const out = join(folder, `run-${Object.values(environment).join('-').replaceAll(/\W/g, '')}`);
  const settings = [`output.folder=${out}`, 'backend=auto', 'training.maxSteps=2'];
  const { code, signal, output, errors } = await start(
    folder,
    settings.flatMap((setting) => ['--set', setting]),
    environment,
  ).ended;
  expect({ code, signal }, errors).toEqual({ code: 0, signal: null });
  expect((await metricsOf(out)).filter(({ type }) => type === 'step').map(({ loss }) => Number.isFinite(loss))).toEqual(
    [true, true],
  );
  return output + errors;
}

describe.skipIf(!present)('training continues', { timeout: 240_000 }, () => {
  const realPlugin = 'path' in plugin ? plugin.path : '';
  const realTensorflow = 'folder' in library ? library.folder : '';

  it('on wasm, where libtensorflow is truncated and the plugin is for another processor', async () => {
    const said = await trainWith({
      WHETSTONE_TENSORFLOW_LIBRARY: tensorflowOf(
        'cut-short',
        beginning(join(realTensorflow, 'libtensorflow_framework.so.2')),
      ),
      WHETSTONE_XLA_PLUGIN: pluginOf('other-processor', forAnotherProcessor()),
    });
    expect(said).toMatch(
      /Computing on WebAssembly.*accelerator: .*other-processor\.so.*it is for (arm64|x64).*whetstone: .*truncated/s,
    );
  });

  it('on xla, where libtensorflow is for another processor', async () => {
    const said = await trainWith({
      WHETSTONE_TENSORFLOW_LIBRARY: tensorflowOf('other', forAnotherProcessor()),
      WHETSTONE_XLA_PLUGIN: realPlugin,
    });
    expect(said).toMatch(/Computing on whetstone with XLA.*whetstone: .*it is for (arm64|x64)/s);
  });

  it.skipIf(!hasCompiler)('on tensorflow, where the plugin speaks another version of PJRT', async () => {
    const future = join(folder, 'future.so');
    // PJRT_Api begins with its size, its extensions, and a version struct of size, extensions, major and minor.
    writeFileSync(
      `${future}.c`,
      'static unsigned long api[100] = {800, 0, 24, 0, (2ul << 32) | 1ul};\nvoid *GetPjrtApi(void) { return api; }\n',
    );
    execFileSync('cc', ['-shared', '-fPIC', '-o', future, `${future}.c`]);
    const said = await trainWith({ WHETSTONE_TENSORFLOW_LIBRARY: realTensorflow, WHETSTONE_XLA_PLUGIN: future });
    expect(said).toMatch(/Computing on whetstone with TensorFlow.*accelerator: .*future\.so has version 1\.2 of PJRT/s);
  });
});
