import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { resolveBackend } from '../resolve.js';
import { loadingProblem } from './try-loading.js';

// The tests build broken libraries with the machine's C compiler.

const compiler = ((): boolean => {
  try {
    execFileSync('cc', ['--version'], { stdio: 'ignore' });
    return process.platform === 'linux';
  } catch {
    return false;
  }
})();
if (!compiler) console.warn('SKIPPED: these tests build libraries with a C compiler. Install one, such as gcc.');

let folder = '';
const cache = process.env['WHETSTONE_CACHE'];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-loading-'));
  process.env['WHETSTONE_CACHE'] = join(folder, 'cache');
});
afterAll(async () => {
  if (cache === undefined) delete process.env['WHETSTONE_CACHE'];
  else process.env['WHETSTONE_CACHE'] = cache;
  await rm(folder, { recursive: true, force: true });
});

async function build(path: string, source: string): Promise<string> {
  await writeFile(`${path}.c`, source);
  execFileSync('cc', ['-shared', '-fPIC', '-o', path, `${path}.c`]);
  return path;
}

const crash = '#include <stdlib.h>\n__attribute__((constructor)) static void start(void) { abort(); }\n';
const harmless = 'int answer(void) { return 42; }\n';

describe.skipIf(!compiler)('a library of unknown origin', () => {
  test('that crashes while it is loaded ends only a separate process', async () => {
    expect(await loadingProblem([await build(join(folder, 'crash.so'), crash)])).toBe(
      'loading it ended a process with SIGABRT',
    );
    const segmentation = await build(
      join(folder, 'segmentation.so'),
      '__attribute__((constructor)) static void start(void) { *(volatile int *)0 = 1; }\n',
    );
    expect(await loadingProblem([segmentation])).toBe('loading it ended a process with SIGSEGV');
    expect(
      await loadingProblem([
        await build(
          join(folder, 'leaves.so'),
          '#include <stdlib.h>\n__attribute__((constructor)) static void start(void) { _Exit(7); }\n',
        ),
      ]),
    ).toBe('loading it ended a process with exit code 7');
  });

  test('that loads is tested once', async () => {
    const trace = join(folder, 'loaded.txt');
    const path = await build(
      join(folder, 'harmless.so'),
      '#include <stdio.h>\n__attribute__((constructor)) static void start(void) { FILE *trace = ' +
        `fopen(${JSON.stringify(trace)}, "a"); fputc('.', trace); fclose(trace); }\n${harmless}`,
    );
    expect(await loadingProblem([path])).toBeNull();
    const once = await readFile(trace, 'utf8');
    expect(once).not.toBe('');
    expect(await loadingProblem([path])).toBeNull();
    expect(await readFile(trace, 'utf8')).toBe(once);
  });

  test('that aborts in GetPjrtApi or in its initialisation ends only a separate process', async () => {
    const abort = '#include <stdlib.h>\n';
    expect(
      await loadingProblem([
        await build(join(folder, 'gives-nothing.so'), `${abort}void *GetPjrtApi(void) { abort(); }\n`),
      ]),
    ).toBe('loading it ended a process with SIGABRT');
    // PJRT_Plugin_Initialize is the fourth function.
    const table =
      'static void *end(void *parameters) { abort(); }\nstatic void *api[100] = {(void *)800, 0, (void *)24, ' +
      '0, (void *)(81ul << 32), 0, 0, 0, end};\nvoid *GetPjrtApi(void) { return api; }\n';
    expect(await loadingProblem([await build(join(folder, 'does-not-start.so'), abort + table)])).toBe(
      'loading it ended a process with SIGABRT',
    );
    expect(
      await loadingProblem([await build(join(folder, 'starts.so'), abort + table.replace('abort();', 'return 0;'))]),
    ).toBeNull();
  });

  test('that crashes is skipped for the next engine or backend, with each reason', async () => {
    const library = join(folder, 'tensorflow');
    await mkdir(library);
    await build(join(library, 'libtensorflow_framework.so.2'), harmless);
    await build(join(library, 'libtensorflow_cc.so.2'), crash);
    const plugin = await build(join(folder, 'plugin.so'), harmless);
    const info = await resolveBackend(
      { name: 'auto', threads: null },
      { tensorflowLibrary: library, xlaPlugin: plugin },
    );
    expect(info.backend).toBe('wasm');
    expect(info.reason).toMatch(/whetstone: .*libtensorflow_cc\.so\.2: loading it ended a process with SIGABRT/);
    expect(info.reason).toMatch(/accelerator: The XLA plugin .*plugin\.so cannot be loaded: .*GetPjrtApi/);
  });

  test('of another version, or without an API, is refused with the reason', async () => {
    const library = join(folder, 'old');
    await mkdir(library);
    await build(join(library, 'libtensorflow_framework.so.2'), harmless);
    await build(join(library, 'libtensorflow_cc.so.2'), 'const char *TF_Version(void) { return "1.15.0"; }\n');
    const nothing = await build(join(folder, 'nothing.so'), 'void *GetPjrtApi(void) { return 0; }\n');
    const old = await resolveBackend(
      { name: 'auto', threads: null },
      { tensorflowLibrary: library, xlaPlugin: nothing },
    );
    expect(old.reason).toMatch(/whetstone: TensorFlow 1\.15\.0 lacks TF_\w+/);
    expect(old.reason).toMatch(/accelerator: GetPjrtApi of the plugin .*nothing\.so returned no API/);
    // PJRT_Api begins with its size, an extension, and a version struct of size, extension, major and minor.
    const future = await build(
      join(folder, 'future.so'),
      'static unsigned long api[80] = {640, 0, 24, 0, (9ul << 32) | 3ul};\nvoid *GetPjrtApi(void) { return api; }\n',
    );
    await expect(resolveBackend({ name: 'xla', threads: null }, { xlaPlugin: future })).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      problems: [{ message: expect.stringContaining('version 3.9') as string }],
    });
  });

  test('that is text or empty is refused with the reason', async () => {
    const cases: readonly (readonly [string, (path: string) => Promise<unknown>, RegExp])[] = [
      ['text', (path) => writeFile(path, 'not a library'), /it is not a shared library/],
      ['empty', (path) => writeFile(path, ''), /the file is empty/],
    ];
    for (const [name, make, reason] of cases) {
      const library = join(folder, name);
      await mkdir(library);
      await make(join(library, 'libtensorflow_framework.so.2'));
      await make(join(library, 'libtensorflow_cc.so.2'));
      await make(join(folder, `${name}.so`));
      const info = await resolveBackend(
        { name: 'auto', threads: null },
        { tensorflowLibrary: library, xlaPlugin: join(folder, `${name}.so`) },
      );
      expect(info.reason.match(new RegExp(reason, 'g'))).toHaveLength(2);
    }
  });
});
