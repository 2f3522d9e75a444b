import { createHash, type Hash } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { definePlugin, type Callback, type Json } from '@whetstone/core/contract';
import { exists, readBytesSync, withWriteErrors, writeAtomically } from '@whetstone/core/files';

const configSchema = {
  type: 'object',
  properties: {
    file: {
      type: 'string',
      minLength: 1,
      default: 'metrics.jsonl',
      description: "Name of the file in the run's output folder.",
    },
  },
  additionalProperties: false,
} as const;

/** The fields of every line: its type, and the number of completed steps. */
interface Line {
  readonly type: 'step' | 'evaluation' | 'end';
  readonly step: number;
}

/** The position of a checkpoint in the file. */
interface Position {
  readonly bytes: number;
  /** The SHA-256 of the bytes before the position. */
  readonly sha256: string;
}

/**
 * Returns the complete lines of steps up to `step`, without the end: what a resumed run keeps if its checkpoint has no
 * position in the file.
 */
function linesUpTo(step: number, content: Buffer): Buffer {
  const lines = content
    .toString('utf8')
    .split('\n')
    .filter((line) => {
      try {
        const parsed = JSON.parse(line) as Partial<Line>;
        return parsed.type !== 'end' && typeof parsed.step === 'number' && parsed.step <= step;
      } catch {
        return false;
      }
    });
  return Buffer.from(lines.map((line) => `${line}\n`).join(''));
}

/** Returns the bytes before a position; null if the file does not have them. */
function bytesBefore({ bytes, sha256 }: Position, content: Buffer): Buffer | null {
  const before = content.subarray(0, bytes);
  return before.length === bytes && createHash('sha256').update(before).digest('hex') === sha256 ? before : null;
}

/**
 * Appends bytes to an open file.
 *
 * @param file the path for error messages
 * @throws `DISK_FULL` and other file system errors
 */
export function appendBytes(descriptor: number, bytes: Uint8Array, file: string): void {
  withWriteErrors(file, () => {
    let done = 0;
    // A single call can write fewer.
    while (done < bytes.length) done += writeSync(descriptor, bytes, done);
  });
}

/** The file of a run that is being written. */
interface OpenFile {
  readonly descriptor: number;
  /** The hash of all bytes so far. */
  readonly hash: Hash;
  bytes: number;
}

/**
 * Creates a logger that writes one line of JSON for every step and evaluation. NaN and infinities become null.
 *
 * A checkpoint contains the position in the file. A run that resumes from it removes what follows, and continues there.
 *
 * @throws `DISK_FULL`
 */
export function createMetricsLog(folder: string, fileName: string, warn: (message: string) => void): Callback {
  const file = join(folder, fileName);
  let open: OpenFile | null = null;
  let resumed: Position | null = null;
  const contentToKeep = (startStep: number): Buffer => {
    if (startStep === 0 || !exists(file)) return Buffer.alloc(0);
    const content = readBytesSync(file);
    const before = resumed === null ? null : bytesBefore(resumed, content);
    if (before !== null) return before;
    if (resumed !== null) warn(`${file} is not the log of the run until its checkpoint: some lines can be missing.`);
    return linesUpTo(startStep, content);
  };
  const write = (line: Line & Readonly<Record<string, unknown>>): void => {
    if (open === null) return;
    const text = Buffer.from(`${JSON.stringify(line)}\n`);
    appendBytes(open.descriptor, text, file);
    open.hash.update(text);
    open.bytes += text.length;
  };
  const close = (): void => {
    if (open === null) return;
    const { descriptor } = open;
    open = null;
    withWriteErrors(file, () => {
      try {
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
    });
  };
  return {
    onRunStart: async ({ startStep }) => {
      close();
      withWriteErrors(folder, () => mkdirSync(folder, { recursive: true }));
      const kept = contentToKeep(startStep);
      await writeAtomically(file, async (handle) => handle.writeFile(kept));
      const descriptor = withWriteErrors(file, () => openSync(file, 'a'));
      open = { descriptor, hash: createHash('sha256').update(kept), bytes: kept.length };
    },
    onStep: ({ metrics, ...report }) => write({ type: 'step', ...report, ...metrics }),
    onEvaluate: ({ metrics, ...report }) => write({ type: 'evaluation', ...report, ...metrics }),
    onRunEnd: (report) => {
      const { steps, outputFolder: _folder, ...rest } = report;
      write({ type: 'end', step: steps, ...rest });
      close();
    },
    onRunError: close,
    saveState: (): Json => {
      if (open === null) return resumed === null ? null : { ...resumed };
      // The lines before the position must be on the disk when the checkpoint is.
      fsyncSync(open.descriptor);
      return { bytes: open.bytes, sha256: open.hash.copy().digest('hex') };
    },
    // The position matters only to a run that resumes: the file keeps the lines of steps that a rollback undoes.
    loadState: (state) => {
      resumed = state as unknown as Position | null;
    },
    dispose: close,
  };
}

/** The logger `metrics-jsonl`: writes all metrics of a run as JSON Lines. */
export const metricsJsonl = definePlugin({
  apiVersion: 2,
  kind: 'logger',
  name: 'metrics-jsonl',
  description: "Writes every step and evaluation as a line of JSON to a file in the run's output folder.",
  configSchema,
  create: ({ file }, { outputFolder, isSet, logger }) => {
    if (outputFolder !== null) return createMetricsLog(outputFolder, file, (message) => logger.warn(message));
    if (isSet?.('file') === true) logger.warn('file of metrics-jsonl has no effect: output.folder is null.');
    return { onRunStart: () => {} };
  },
});
