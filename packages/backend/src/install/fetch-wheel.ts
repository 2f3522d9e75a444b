import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { WhetstoneError } from '@whetstone/core/contract';
import { move } from '@whetstone/core/files';
import { cacheFolder } from './cache-folder.js';
import { download, reasonOf } from './download.js';
import type { InstallOptions } from './progress.js';
import { findPython, runCommand, type Python } from './python.js';
import type { Wheel } from './wheels.js';

const pollMilliseconds = 250;

/**
 * Fetches a wheel into `folder` from the package index that pip is configured for. pip locates the file, or downloads
 * it if only pip can, with its index, proxy and certificates. A broken download is resumed. An existing file with the
 * correct checksum is reused; one with another checksum is replaced.
 *
 * @returns the path of the verified file
 * @throws `DOWNLOAD_FAILED` with the reason
 * @throws `INTERRUPTED` if the signal fires
 */
export async function fetchWheel(wheel: Wheel, folder: string, options: InstallOptions = {}): Promise<string> {
  const final = join(folder, wheel.fileName);
  await mkdir(folder, { recursive: true });
  if (await exists(final)) {
    if ((await isFile(final)) && (await sha256(final, wheel, options)) === wheel.sha256) {
      options.onMessage?.(`${wheel.fileName} is already downloaded and has the expected checksum.`);
      return final;
    }
    options.onMessage?.(`${wheel.fileName} is already downloaded, but has another checksum. It is downloaded again.`);
    await rm(final, { recursive: true });
  }
  const python = await requirePython(`${wheel.name} ${wheel.version}`, options);
  // Outside the temporary folder, so that a later attempt can resume it.
  const partial = `${final}.partial`;
  if (!(await isFile(partial))) await rm(partial, { recursive: true, force: true });
  const isResumed = await exists(partial);
  if (await fetchResumably(wheel, partial, python, options)) {
    if (isResumed && (await sha256(partial, wheel, options)) !== wheel.sha256) {
      // What an earlier attempt left can be damaged. Without it, the checksum is that of the server's file.
      options.onMessage?.(`The earlier part of ${wheel.fileName} is damaged. It is downloaded again.`);
      await rm(partial);
      if (!(await fetchResumably(wheel, partial, python, options))) return fetchWheel(wheel, folder, options);
    }
    await renameVerified(partial, final, wheel, options);
    return final;
  }
  const temporary = await mkdtemp(join(folder, '.download-'));
  try {
    await renameVerified(await pipDownload(wheel, temporary, python, options), final, wheel, options);
    return final;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/**
 * Renames a downloaded file to its final name.
 *
 * @throws `DOWNLOAD_FAILED` if the checksum differs; the file is then removed
 */
async function renameVerified(file: string, final: string, wheel: Wheel, options: InstallOptions): Promise<void> {
  const found = await sha256(file, wheel, options);
  if (found !== wheel.sha256) {
    await rm(file);
    throw new WhetstoneError('DOWNLOAD_FAILED', `The checksum of ${wheel.fileName} is wrong. The file was removed.`, {
      expected: `SHA-256 ${wheel.sha256}`,
      found: `SHA-256 ${found}`,
      hint:
        'The download is corrupt, or the package index serves a different file. Try again, or check which index ' +
        'pip uses (`pip config list`).',
    });
  }
  await move(file, final);
}

/** Returns the file's address on pip's package index, or null. */
async function locate(
  { python, parameters }: { readonly python: Python; readonly parameters: readonly string[] },
  wheel: Wheel,
  options: InstallOptions,
): Promise<string | null> {
  const pipArguments = [
    '-m',
    'pip',
    'install',
    '--dry-run',
    '--ignore-installed',
    '--no-deps',
    '--quiet',
    '--disable-pip-version-check',
    '--no-input',
    '--report',
    '-',
    ...parameters,
  ];
  const { code, stdout } = await runCommand(
    python.command,
    [
      ...python.parameters,
      ...pipArguments,
      '--target',
      join(options.cache ?? cacheFolder(), 'nowhere'),
      `${wheel.name}==${wheel.version}`,
    ],
    { signal: options.signal },
  );
  if (code !== 0) return null;
  try {
    const report = JSON.parse(stdout) as {
      readonly install?: readonly { readonly download_info?: { readonly url?: string } }[];
    };
    const url = new URL(report.install?.[0]?.download_info?.url ?? '');
    return /^https?:$/.test(url.protocol) && decodeURIComponent(url.pathname).endsWith(`/${wheel.fileName}`)
      ? url.href
      : null;
  } catch {
    return null;
  }
}

/**
 * Downloads the file from the address that pip uses, but without pip, so that the download can be resumed. Returns
 * false if that is not possible: with an older pip, a folder as the index, an index with a password, or a proxy of
 * pip.
 */
async function fetchResumably(
  wheel: Wheel,
  partial: string,
  python: Python,
  options: InstallOptions,
): Promise<boolean> {
  const subject = `${wheel.name} ${wheel.version}`;
  const url = await locate({ python, parameters: pipTarget(wheel) }, wheel, options);
  stopIfAborted(options.signal, subject);
  if (url === null) return false;
  const onBytes = (doneBytes: number): void =>
    options.onProgress?.({ stage: 'download', subject, doneBytes, totalBytes: wheel.bytes ?? null });
  onBytes(0);
  try {
    await download(url, partial, wheel.bytes, {
      signal: options.signal,
      onBytes,
      onMessage: options.onMessage,
    });
    return true;
  } catch (error) {
    stopIfAborted(options.signal, subject);
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') throw error;
    if (
      (await stat(partial).then(
        (found) => found.size,
        () => 0,
      )) === 0
    )
      return false;
    throw new WhetstoneError('DOWNLOAD_FAILED', `The download of ${subject} failed: ${reasonOf(error)}.`, {
      hint: 'Run the command again. It resumes the download.',
      cause: error,
    });
  }
}

const pipTarget = (wheel: Wheel): readonly string[] => [
  '--only-binary=:all:',
  ...(wheel.target === undefined
    ? []
    : ['--python-version', wheel.target.pythonVersion, '--platform', wheel.target.platform]),
];

async function requirePython(subject: string, options: InstallOptions): Promise<Python> {
  const found = await findPython(['-m', 'pip', '--version'], options.signal);
  if (!('reasons' in found)) return found.python;
  stopIfAborted(options.signal, subject);
  throw new WhetstoneError('DOWNLOAD_FAILED', `${subject} cannot be fetched: no Python with pip was found.`, {
    expected: 'python3 with pip on the PATH (or its path in WHETSTONE_PYTHON)',
    found: found.reasons.join('; '),
    hint: 'Install Python 3 with pip, or use the backend wasm or cpu, which need no download.',
  });
}

async function pipDownload(wheel: Wheel, temporary: string, python: Python, options: InstallOptions): Promise<string> {
  const subject = `${wheel.name} ${wheel.version}`;
  const destination = join(temporary, 'wheel');
  const work = join(temporary, 'work');
  await mkdir(work, { recursive: true });
  const parameters = [
    '-m',
    'pip',
    'download',
    '--no-deps',
    '--no-cache-dir',
    '--disable-pip-version-check',
    '--no-input',
    ...pipTarget(wheel),
    '--dest',
    destination,
    `${wheel.name}==${wheel.version}`,
  ];
  options.onProgress?.({ stage: 'download', subject, doneBytes: 0, totalBytes: wheel.bytes ?? null });
  // pip's progress output differs between versions, so progress is the size of the file in its temporary folder.
  const timer = setInterval(() => {
    void folderBytes(temporary).then((doneBytes) =>
      options.onProgress?.({
        stage: 'download',
        subject,
        doneBytes: Math.min(doneBytes, wheel.bytes ?? Infinity),
        totalBytes: wheel.bytes ?? null,
      }),
    );
  }, pollMilliseconds);
  const result = await runCommand(python.command, [...python.parameters, ...parameters], {
    signal: options.signal,
    environment: { TMPDIR: work, TMP: work, TEMP: work },
  }).finally(() => clearInterval(timer));
  stopIfAborted(options.signal, subject);
  if (result.code !== 0) {
    throw new WhetstoneError('DOWNLOAD_FAILED', `pip could not fetch ${subject}.`, {
      expected: wheel.fileName,
      found: pipReason(result.stderr, result.startError ?? `exit code ${result.code}`),
      hint:
        "Check the network and pip's index settings (`pip config list`), then try again. The backends wasm and cpu " +
        'need no download.',
    });
  }
  const file = join(destination, wheel.fileName);
  if (!(await exists(file))) {
    throw new WhetstoneError('DOWNLOAD_FAILED', 'pip fetched a file that Whetstone does not know.', {
      expected: wheel.fileName,
      found: (await readdir(destination).catch(() => [])).join(', ') || 'nothing',
      hint: 'Only files with a known checksum are used.',
    });
  }
  const { size } = await stat(file);
  options.onProgress?.({ stage: 'download', subject, doneBytes: size, totalBytes: size });
  return file;
}

/** Returns the reason from pip's output: its ERROR lines and the last cause of a retry, or the last line. */
function pipReason(stderr: string, otherwise: string): string {
  const lines = stderr
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);
  const errors = lines.filter((line) => line.startsWith('ERROR:')).map((line) => line.slice('ERROR:'.length).trim());
  const causes = lines
    .filter((line) => line.startsWith('WARNING: Retrying'))
    .map((line) => /'([^']*)'/.exec(line)?.[1] ?? '')
    .filter(Boolean);
  const reasons = [...new Set([...errors, ...causes.slice(-1)])];
  return reasons.length > 0 ? reasons.join(' ') : (lines.at(-1) ?? otherwise);
}

function stopIfAborted(signal: AbortSignal | undefined, subject: string): void {
  if (signal?.aborted)
    throw new WhetstoneError('INTERRUPTED', `Fetching ${subject} was interrupted. The same command resumes it.`);
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
  return stat(path).then(
    () => true,
    () => false,
  );
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false,
  );

async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const sizes = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map((entry) =>
        stat(join(entry.parentPath ?? entry.path, entry.name)).then(
          (found) => found.size,
          () => 0,
        ),
      ),
  );
  return sizes.length === 0 ? 0 : Math.max(...sizes);
}
