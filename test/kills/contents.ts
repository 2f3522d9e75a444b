import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { verifyCheckpoint } from '@whetstone/core/checkpoint';
import { verifyResult } from '@whetstone/core/files';
import { isRecord } from '@whetstone/core/util';

/** What two runs never have in common: times, the identity of an attempt, and how the run was started. */
const CHANGING = new Set([
  'seconds',
  'samplesPerSecond',
  'tokensPerSecond',
  'supervisedTokensPerSecond',
  'peakMemoryBytes',
  'eval_runtime',
  'eval_samples_per_second',
  'attempts',
  'resumeFromCheckpoint',
  // Of a stage: whether it started without a checkpoint.
  'overwrite',
  'tensorboard',
]);

/** What several processes measure in addition, and the position in the log that contains it. */
const MEASURED = /^(allReduce.*|metrics-jsonl)$/;

/** Returns a JSON value without what changes from run to run. */
function lasting(value: unknown, isTimed: boolean): unknown {
  if (Array.isArray(value)) return value.map((item: unknown) => lasting(item, isTimed));
  if (!isRecord(value)) return value;
  const kept = Object.entries(value).filter(([key]) => !CHANGING.has(key) && !(isTimed && MEASURED.test(key)));
  return Object.fromEntries(kept.map(([key, item]) => [key, lasting(item, isTimed)]));
}

/** An event of TensorBoard, as far as {@link readEvents} needs it. */
interface Scalars {
  readonly step: number;
  readonly summary: string;
}

/** The fields of a protocol buffer: number and value. */
function* fieldsOf(bytes: Buffer): Generator<readonly [number, Buffer | number]> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const type = key & 7;
    if (type === 0) {
      yield [key >>> 3, varint()];
      continue;
    }
    const length = type === 2 ? varint() : type === 1 ? 8 : 4;
    yield [key >>> 3, bytes.subarray(at, at + length)];
    at += length;
  }
}

/**
 * Returns the scalars that TensorBoard shows: of all event files in the order of their names. The start of a run at a
 * step (`session_log`, field 7) discards what was read of this step and later ones.
 */
function readEvents(files: readonly Buffer[]): readonly Scalars[] {
  let shown: Scalars[] = [];
  for (const file of files)
    for (let at = 0; at < file.length;) {
      const length = Number(file.readBigUInt64LE(at));
      const record = file.subarray(at + 12, at + 12 + length);
      // TensorBoard stops here, too: the file of a start that was killed before its first checkpoint.
      if (file.length < at + 16 + length) break;
      at += 16 + length;
      const fields = new Map(fieldsOf(record));
      const step = Number(fields.get(2) ?? 0);
      const summary = fields.get(5);
      if (fields.has(7)) shown = shown.filter((event) => event.step < step);
      else if (Buffer.isBuffer(summary)) shown.push({ step, summary: scalarsOf(summary) });
    }
  return shown;
}

/** Returns the tags and values of a summary (field 1: tag 1, simple_value 2) without times. */
function scalarsOf(summary: Buffer): string {
  const values = [...fieldsOf(summary)].map(([, value]) => new Map(fieldsOf(value as Buffer)));
  return values
    .map((value) => [String(value.get(1)), (value.get(2) as Buffer).toString('hex')] as const)
    .filter(([tag]) => !CHANGING.has(tag.slice(tag.indexOf('/') + 1)) && !tag.includes('allReduce'))
    .join(' ');
}

const EVENTS = 'events.out.tfevents.';

async function filesIn(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => relative(folder, join(entry.parentPath, entry.name)));
}

/**
 * Returns the files of a run by name, to be compared with those of another one: JSON without what changes from run to
 * run, the events that TensorBoard shows, and the hash of any other file.
 *
 * @param isTimed whether the clock of the run is not the one that stands still
 */
export async function contentsOf(folder: string, isTimed: boolean): Promise<Readonly<Record<string, unknown>>> {
  const contents: Record<string, unknown> = {};
  const events = new Map<string, Buffer[]>();
  for (const name of (await filesIn(folder)).toSorted()) {
    const file = basename(name);
    // Manifests are verified. Events of a checkpoint that was never written are not shown.
    if (file === 'manifest.json' || file.startsWith('events.out.abandoned.')) continue;
    const bytes = await readFile(join(folder, name));
    const text = bytes.toString();
    if (file.startsWith(EVENTS)) events.set(dirname(name), [...(events.get(dirname(name)) ?? []), bytes]);
    else if (file.endsWith('.json')) contents[name] = lasting(JSON.parse(text), isTimed);
    else if (file === 'metrics.jsonl')
      contents[name] = text.split('\n').map((line) => (line === '' ? '' : lasting(JSON.parse(line), isTimed)));
    else contents[name] = createHash('sha256').update(bytes).digest('hex');
  }
  for (const [where, files] of events) contents[join(where, EVENTS)] = readEvents(files);
  return contents;
}

/** Throws if a checkpoint or a result under its final name is not complete. */
export async function verifyFolders(folder: string): Promise<void> {
  const names = await filesIn(folder).catch((): readonly string[] => []);
  const isVisible = (path: string): boolean => path.split('/').every((part) => !part.startsWith('.'));
  for (const path of new Set(names.filter(isVisible).map((name) => dirname(name)))) {
    const name = basename(path);
    if (/^checkpoint-\d+$/.test(name)) await verifyCheckpoint(join(folder, path));
    if (!/^(adapter|model|merged|hand-over)$/.test(name)) continue;
    if (!names.includes(`${path}/manifest.json`)) throw new Error(`${path} has no manifest.`);
    await verifyResult(join(folder, path));
  }
}
