import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from '../install/cache-folder.js';

/** Loads libraries one after another as the engines do, in a process of its own. */
const script = `
const koffi = require(process.argv[1]);
for (const path of process.argv.slice(2)) koffi.load(path, { lazy: true, global: true });
process.kill(process.pid, 'SIGKILL');
`;

const MOST_MILLISECONDS = 60_000;

/** Remembers what loaded well here once: its file, this machine's processor and Node's version. */
function markOf(paths: readonly string[]): string {
  const files = paths.map((path) => {
    const { size, mtimeMs } = statSync(path);
    return `${path}|${size}|${mtimeMs}`;
  });
  const key = createHash('sha256').update([...files, process.version, process.arch, cpus()[0]?.model ?? ''].join('\n')).digest('hex').slice(0, 32);
  return join(cacheFolder(), 'loaded', key);
}

/**
 * Loads libraries that nobody has vouched for in another process first: a library that ends its process while it is being loaded ends that one. Once it went
 * well, it is not tried again.
 * @returns why they must not be loaded, or null
 */
export async function loadingProblem(paths: readonly string[]): Promise<string | null> {
  let mark: string;
  try {
    mark = markOf(paths);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  if (existsSync(mark)) return null;
  const { createRequire } = await import('node:module');
  const koffi = createRequire(import.meta.url).resolve('koffi');
  const child = spawn(process.execPath, ['--input-type=commonjs', '--eval', script, koffi, ...paths], { stdio: ['ignore', 'ignore', 'pipe'], timeout: MOST_MILLISECONDS });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-4000)));
  const { code, signal } = await new Promise<{ readonly code: number | null; readonly signal: string | null }>((resolve) => {
    child.on('error', () => resolve({ code: null, signal: null }));
    child.on('close', (code, signal) => resolve({ code, signal }));
  });
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
  return code === 0 || reason !== undefined || code === null ? null : `loading it ended a process with exit code ${code}`;
}
