import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from '../install/cache-folder.js';
import { messageOf } from '@whetstone/core/util';

/**
 * Loads libraries one after another as the engines do, in a process of its own. A plugin is asked for its functions
 * too, and to initialise itself (the fourth of them, behind the size, the extensions and the version): code of its own
 * that may end a process.
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
process.kill(process.pid, 'SIGKILL');
`;

const MOST_MILLISECONDS = 60_000;

/** Remembers what loaded well here once: its file, this machine's processor and Node's version. */
function markOf(paths: readonly string[]): string {
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
 * Loads libraries that nobody has vouched for in another process first: a library that ends its process while it is
 * being loaded ends that one. Once it went well, it is not tried again.
 *
 * @returns why they must not be loaded, or null
 */
export async function loadingProblem(paths: readonly string[]): Promise<string | null> {
  let mark: string;
  try {
    mark = markOf(paths);
  } catch (error) {
    return messageOf(error);
  }
  if (existsSync(mark)) return null;
  const { createRequire } = await import('node:module');
  const koffi = createRequire(import.meta.url).resolve('koffi');
  const child = spawn(process.execPath, ['--input-type=commonjs', '--eval', script, koffi, ...paths], {
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: MOST_MILLISECONDS,
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-4000)));
  const { code, signal } = await new Promise<{ readonly code: number | null; readonly signal: string | null }>(
    (resolve) => {
      child.on('error', () => resolve({ code: null, signal: null }));
      child.on('close', (code, signal) => resolve({ code, signal }));
    },
  );
  // It kills itself once all is loaded: libraries are not asked to leave.
  if (signal === 'SIGKILL') {
    try {
      mkdirSync(join(cacheFolder(), 'loaded'), { recursive: true });
      writeFileSync(mark, '');
    } catch {
      // Tried again next time.
    }
    return null;
  }
  if (signal !== null) return `loading it ended a process with ${signal}`;
  // An error that JavaScript sees is told in this process, with its words.
  const reason = /Error: (.*)/.exec(said)?.[1];
  return code === 0 || reason !== undefined || code === null
    ? null
    : `loading it ended a process with exit code ${code}`;
}
