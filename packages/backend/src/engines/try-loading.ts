import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from '../install/cache-folder.js';
import { messageOf } from '@whetstone/core/util';

/** What the script writes once all libraries are loaded. */
const LOADED = 'whetstone: all libraries are loaded';

/**
 * Script of a separate process that loads libraries in order, as the engines do. It also calls two functions of a
 * plugin that may end the process: `GetPjrtApi` and `PJRT_Plugin_Initialize`, the fourth function of the API table,
 * which begins with size, extensions and version.
 */
const script = `
const koffi = require(process.argv[1]);
for (const path of process.argv.slice(2)) {
  const library = koffi.load(path, { lazy: true, global: true });
  let getApi;
  try { getApi = library.func('void *GetPjrtApi()'); } catch { continue; }
  const api = getApi();
  const known = api ? new BigUint64Array(koffi.view(api, 40)) : null;
  if (known === null || known[0] < 80n || new Int32Array(known.buffer)[8] !== 0) continue;
  const initialise = new BigUint64Array(koffi.view(api, 80))[8];
  const parameters = new BigUint64Array(new ArrayBuffer(16));
  parameters[0] = 16n;
  if (initialise === 0n) continue;
  const signature = koffi.proto('void *initialise(void *)');
  koffi.decode(initialise, signature)(koffi.address(parameters.buffer));
}
require('node:fs').writeSync(2, '${LOADED}');
process.kill(process.pid, 'SIGKILL');
`;

const TIMEOUT_MILLISECONDS = 60_000;

/** Returns the file that marks libraries as loadable: for these files, this processor and this version of Node. */
function markerPath(paths: readonly string[]): string {
  const files = paths.map((path) => {
    const { size, mtimeMs } = statSync(path);
    return `${path}|${size}|${mtimeMs}`;
  });
  const key = createHash('sha256')
    .update([...files, process.version, process.arch, cpus()[0]?.model ?? ''].join('\n'))
    .digest('hex')
    .slice(0, 32);
  return join(cacheFolder(), 'loaded', key);
}

/**
 * Test-loads libraries of unknown origin in a separate process, because loading may end the process. A success is
 * remembered.
 *
 * @returns why the libraries must not be loaded, or null
 */
export async function loadingProblem(paths: readonly string[]): Promise<string | null> {
  let marker: string;
  try {
    marker = markerPath(paths);
  } catch (error) {
    return messageOf(error);
  }
  if (existsSync(marker)) return null;
  const { createRequire } = await import('node:module');
  const koffi = createRequire(import.meta.url).resolve('koffi');
  const child = spawn(process.execPath, ['--input-type=commonjs', '--eval', script, koffi, ...paths], {
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: TIMEOUT_MILLISECONDS,
  });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(-4000)));
  const { code, signal } = await new Promise<{ readonly code: number | null; readonly signal: string | null }>(
    (resolve) => {
      child.on('error', () => resolve({ code: null, signal: null }));
      child.on('close', (code, signal) => resolve({ code, signal }));
    },
  );
  // The script kills itself after loading, so that no library runs its exit handlers.
  // Windows has no signals: there, the exit code is that of a failure.
  if (errors.includes(LOADED)) {
    try {
      mkdirSync(join(cacheFolder(), 'loaded'), { recursive: true });
      writeFileSync(marker, '');
    } catch {
      // Without a marker the libraries are tested again next time.
    }
    return null;
  }
  if (signal !== null) return `loading it ended a process with ${signal}`;
  // A JavaScript error occurs again in this process, where it is reported with its message.
  const reason = /Error: (.*)/.exec(errors)?.[1];
  return code === 0 || reason !== undefined || code === null
    ? null
    : `loading it ended a process with exit code ${code}`;
}
