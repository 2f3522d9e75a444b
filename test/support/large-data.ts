import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { testRandom } from '@whetstone/core/util';

const run = promisify(execFile);
const program = fileURLToPath(new URL('../../packages/cli/dist/main.js', import.meta.url));
const vocabulary =
  'order parcel shoes return refund invoice address delivery late broken weekend courier colour size window letter';
const words = vocabulary.split(' ');

/** A module that prints the peak memory of its process at exit. */
const memoryScript = `
  import process from 'node:process';
  import { isMainThread } from 'node:worker_threads';
  const print = () => process.stderr.write('PEAK ' + process.resourceUsage().maxRSS * 1024 + '\\n');
  if (isMainThread) process.on('exit', print);`;

/**
 * Writes conversations until a file has so many bytes; the same ones each time. Some rows repeat an earlier one, some
 * cannot be read.
 *
 * @param notes characters of a column that nothing learns, for large files with few tokens
 */
export async function writeLargeData(file: string, bytes: number, notes: number): Promise<void> {
  const stream = createWriteStream(file);
  let random = testRandom(1);
  const word = (): string => words[Math.floor(random() * 16)] ?? '';
  const sentence = (count: number): string => Array.from({ length: count }, word).join(' ');
  for (let written = 0, index = 0; written < bytes; index++) {
    random = testRandom((index % 50 === 49 ? index - 49 : index) + 1);
    const messages = [
      { role: 'user', content: `${sentence(6)} ${index % 50 === 49 ? index - 49 : index}?` },
      { role: 'assistant', content: `${sentence(9)}.` },
    ];
    const row =
      index % 5000 === 4321
        ? '{"messages": [\n'
        : `${JSON.stringify({ messages, notes: sentence(8).padEnd(notes, 'x') })}\n`;
    written += row.length;
    if (!stream.write(row)) await once(stream, 'drain');
  }
  stream.end();
  await once(stream, 'finish');
}

export interface CommandRun {
  readonly stderr: string;
  /** The most memory that the process ever held, in bytes. */
  readonly peakBytes: number;
  readonly seconds: number;
}

/** Runs `whetstone` in a process of its own, with a cache of its own; throws where it fails. */
export async function runCommand(
  parameters: readonly string[],
  { cache, nodeOptions = [] }: { readonly cache: string; readonly nodeOptions?: readonly string[] },
): Promise<CommandRun> {
  const printMemory = `data:text/javascript,${encodeURIComponent(memoryScript)}`;
  const begun = performance.now();
  const { stderr } = await run(
    process.execPath,
    [...nodeOptions, '--import', printMemory, program, ...parameters, '--json'],
    { env: { ...process.env, WHETSTONE_CACHE: cache }, maxBuffer: 64 << 20 },
  );
  return {
    stderr,
    peakBytes: Number(/PEAK (\d+)/.exec(stderr)?.[1] ?? Number.NaN),
    seconds: (performance.now() - begun) / 1000,
  };
}

/** A hash of a file of a run's folder. */
export const hashOf = (folder: string, ...file: readonly string[]): string =>
  createHash('sha256')
    .update(readFileSync(join(folder, ...file)))
    .digest('hex');
