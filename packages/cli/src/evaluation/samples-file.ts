import { appendFile } from 'node:fs/promises';
import { readTextIfPresent, writeError, writeText } from '@whetstone/core/files';
import { WhetstoneError, type Json, type Message, type Metric, type MetricSample } from '@whetstone/core/contract';
import type { MeasuredSample, Named } from '@whetstone/core/training';
import { isRecord } from '@whetstone/core/util';

/** A line of a samples file, as `--samples` writes it. */
export interface SampleLine {
  /** The position among the samples, from 0. */
  readonly index: number;
  /** The file of the data and the line in it. */
  readonly file: string | null;
  readonly line: number | null;
  readonly prompt: readonly Message[];
  readonly reference: string;
  /** The reply of the model; null if none was generated. */
  readonly reply: string | null;
  /** The numbers of each additive metric for this sample alone. */
  readonly scores: Readonly<Record<string, number>>;
  /** What each additive metric adds up of this sample, by the name of the plugin. */
  readonly statistics: Readonly<Record<string, readonly number[]>>;
}

/** What additive metrics add up of a sample. */
export type SampleStatistics = Pick<SampleLine, 'index' | 'statistics'>;

/** Returns the line of a measured sample. */
export function lineOf(
  { sample, reply, statistics }: MeasuredSample,
  metrics: readonly Named<Metric>[],
  index: number,
): SampleLine {
  const { file, line } = sample.conversation.origin ?? {};
  const scores: Record<string, number> = {};
  const kept: Record<string, readonly number[]> = {};
  for (const [position, { plugin, instance }] of metrics.entries()) {
    const own = statistics[position] ?? null;
    if (own === null) continue;
    kept[plugin] = own;
    Object.assign(scores, instance.additive?.numbers(own));
  }
  return {
    index,
    file: file ?? null,
    line: line ?? null,
    prompt: sample.prompt,
    reference: sample.references[0],
    reply: reply ?? null,
    scores,
    statistics: kept,
  };
}

/** What was measured: the first line of a samples file. */
export interface SamplesHeader {
  readonly formatVersion: 1;
  readonly model: string;
  readonly adapter: string | null;
  /** Options that change the samples, the replies or the scores. */
  readonly options: Json;
}

/** A samples file. */
export interface SamplesFile {
  readonly path: string;
  readonly header: SamplesHeader;
  readonly lines: readonly SampleLine[];
}

/** Returns whether a line is that of a sample. */
const isSameSample = (line: SampleLine, { prompt, references }: MetricSample): boolean =>
  line.reference === references[0] && JSON.stringify(line.prompt) === JSON.stringify(prompt);

/**
 * Checks that a line of a samples file is that of a sample.
 *
 * @throws `SAMPLES_DIFFER`
 */
export function checkSameSample({ path }: SamplesFile, line: SampleLine | undefined, sample: MetricSample): void {
  if (line !== undefined && isSameSample(line, sample)) return;
  throw new WhetstoneError('SAMPLES_DIFFER', 'The samples file does not belong to this evaluation data.', {
    place: { file: path, line: line === undefined ? undefined : line.index + 2 },
    expected: `the sample with the answer ${JSON.stringify(shortened(sample.references[0]))}`,
    found: line === undefined ? 'the end of the file' : `the answer ${JSON.stringify(shortened(line.reference))}`,
    hint: 'Measure both models on the same files, with the same --replies.',
  });
}

const shortened = (text: string): string => (text.length <= 60 ? text : `${text.slice(0, 60)}…`);

/**
 * Reads a samples file; null if it does not exist. The last line may be incomplete after a kill, and is left out then.
 *
 * @throws `DATA_UNREADABLE` if a line is invalid
 */
export async function readSamplesFile(path: string): Promise<SamplesFile | null> {
  const text = await readTextIfPresent(path);
  if (text === null) return null;
  const [first = '', ...others] = text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .slice(0, -1);
  const header = parsed(first);
  if (!isRecord(header) || header['formatVersion'] !== 1 || typeof header['model'] !== 'string')
    throw invalidLine(path, 1, 'the first line of a samples file', first);
  return { path, header: header as unknown as SamplesHeader, lines: others.map((line, at) => lineAt(line, at, path)) };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

const invalidLine = (file: string, line: number, expected: string, found: string): WhetstoneError =>
  new WhetstoneError('DATA_UNREADABLE', 'The file is not a samples file of whetstone evaluate.', {
    place: { file, line },
    expected,
    found: shortened(found),
    hint: 'Pass a file that `whetstone evaluate --samples` wrote.',
  });

function lineAt(text: string, index: number, file: string): SampleLine {
  const line = parsed(text);
  if (
    isRecord(line) &&
    line['index'] === index &&
    Array.isArray(line['prompt']) &&
    typeof line['reference'] === 'string' &&
    (line['reply'] === null || typeof line['reply'] === 'string') &&
    isRecord(line['statistics']) &&
    Object.values(line['statistics']).every((own) => Array.isArray(own) && own.every(Number.isFinite))
  )
    return line as unknown as SampleLine;
  throw invalidLine(file, index + 2, `the sample with the index ${index}`, text);
}

/** Writes a samples file line by line. */
export interface SamplesWriter {
  add(line: SampleLine): Promise<void>;
}

/**
 * Creates a samples file that starts with the lines of an earlier one.
 *
 * @throws the errors of `writeError`
 */
export async function createSamplesFile(
  path: string,
  header: SamplesHeader,
  kept: readonly SampleLine[],
): Promise<SamplesWriter> {
  const textOf = (line: object): string => `${JSON.stringify(line)}\n`;
  await writeText(path, [header, ...kept].map(textOf).join(''));
  return {
    add: async (line) => {
      try {
        await appendFile(path, textOf(line));
      } catch (cause) {
        throw writeError(cause, path);
      }
    },
  };
}
