import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, statSync, truncateSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import { definePlugin, type Callback, type Json } from '@whetstone/core/contract';
import { moveSync, withWriteErrors } from '@whetstone/core/files';
import { encodeEvent, frameRecord, type TensorBoardEvent } from './event-file.js';

const configSchema = {
  type: 'object',
  properties: {
    folder: {
      type: 'string',
      minLength: 1,
      default: '.',
      description: "Folder of the event files, relative to the run's output folder.",
    },
    everySteps: {
      type: 'integer',
      minimum: 1,
      default: 1,
      description: 'Write every this many steps, and the last step.',
    },
  },
  additionalProperties: false,
} as const;

/** Fields of reports that are not measurements. */
const notMeasured = new Set(['step', 'totalSteps', 'metrics', 'updated', 'microbatches']);

/** Returns the numbers and metrics of a report by tag, such as `train/loss` or `eval/perplexity`. */
function scalarsOf(
  prefix: 'train' | 'eval',
  { metrics, ...report }: { readonly metrics: Readonly<Record<string, number>> },
): Record<string, number> {
  const numbers = Object.entries({ ...report, ...metrics }).filter(
    (entry): entry is [string, number] => !notMeasured.has(entry[0]) && typeof entry[1] === 'number',
  );
  return Object.fromEntries(numbers.map(([name, value]) => [`${prefix}/${name}`, value]));
}

/** The position of a checkpoint in the event files of its run. */
interface Position {
  /** The end of the names of all event files of the run. Other runs can write to the same folder. */
  readonly run: string;
  /** The files that existed, with their sizes in bytes. */
  readonly files: Readonly<Record<string, number>>;
}

const PREFIX = 'events.out.tfevents.';

/**
 * Makes the event files of a run those of a checkpoint: removes what was written later. A file that did not exist is
 * renamed, so that TensorBoard does not read it.
 */
function returnTo({ run, files }: Position, folder: string): void {
  for (const name of readdirSync(folder).filter((each) => each.startsWith(PREFIX) && each.endsWith(`.${run}`))) {
    const file = join(folder, name);
    const bytes = Object.hasOwn(files, name) ? files[name] : undefined;
    if (bytes === undefined) moveSync(file, join(folder, name.replace(PREFIX, 'events.out.abandoned.')));
    else if (statSync(file).size > bytes) truncateSync(file, bytes);
  }
}

/** An event file that is being written. */
interface EventFile {
  readonly file: string;
  /** The bytes that were written. */
  readonly bytes: number;
  write(event: TensorBoardEvent): void;
  sync(): void;
  close(): void;
}

/** Opens an event file. Its functions throw the errors of `writeError`. */
function openEventFile(file: string): EventFile {
  const descriptor = withWriteErrors(file, () => openSync(file, 'a'));
  let bytes = 0;
  const sync = (): void => withWriteErrors(file, () => fsyncSync(descriptor));
  return {
    file,
    get bytes() {
      return bytes;
    },
    write(event) {
      const record = frameRecord(encodeEvent(event));
      withWriteErrors(file, () => {
        let done = 0;
        // A single call can write fewer bytes.
        while (done < record.length) done += writeSync(descriptor, record, done);
      });
      bytes += record.length;
    },
    sync,
    close() {
      try {
        sync();
      } finally {
        withWriteErrors(file, () => closeSync(descriptor));
      }
    },
  };
}

/**
 * Creates a logger that writes steps and evaluations for TensorBoard (`tensorboard --logdir runs`). Each start of a run
 * writes a new file. A checkpoint contains the position in the files: a run that resumes from it removes what follows.
 * TensorBoard discards the steps that it had read and that the run repeats.
 *
 * @throws `DISK_FULL`
 */
export function createTensorBoardLog(folder: string, everySteps = 1, now: () => number = Date.now): Callback {
  let open: EventFile | null = null;
  let position: Position | null = null;
  let resumed: Position | null = null;
  const close = (): void => {
    const closing = open;
    open = null;
    closing?.close();
  };
  return {
    onRunStart: ({ startStep }) => {
      close();
      withWriteErrors(folder, () => mkdirSync(folder, { recursive: true }));
      position = startStep > 0 && resumed !== null ? resumed : { run: randomBytes(4).toString('hex'), files: {} };
      const { run, files } = position;
      withWriteErrors(folder, () => returnTo({ run, files }, folder));
      const seconds = now() / 1000;
      const time = seconds.toFixed(3).replace('.', '').padStart(13, '0');
      // TensorBoard recognizes event files by this name, and reads them in the order of their names.
      const file = join(folder, `${PREFIX}${time}.${hostname()}.${process.pid}.${run}`);
      open = openEventFile(file);
      open.write({ kind: 'version', seconds, step: 0 });
      // A new run has events of step 0, too.
      open.write({ kind: 'start', seconds, step: startStep === 0 ? 0 : startStep + 1 });
    },
    onStep: (report) => {
      if (report.step % everySteps === 0 || report.step === report.totalSteps)
        open?.write({ kind: 'scalars', seconds: now() / 1000, step: report.step, scalars: scalarsOf('train', report) });
    },
    onEvaluate: (report) =>
      open?.write({ kind: 'scalars', seconds: now() / 1000, step: report.step, scalars: scalarsOf('eval', report) }),
    onRunEnd: close,
    onRunError: close,
    saveState: (): Json => {
      if (open === null || position === null) return resumed === null ? null : { ...resumed };
      // The events before the position must be on the disk when the checkpoint is.
      open.sync();
      return { run: position.run, files: { ...position.files, [basename(open.file)]: open.bytes } };
    },
    // The position matters only to a run that resumes: the files keep the events of steps that a rollback undoes.
    loadState: (state) => {
      resumed = state as unknown as Position | null;
    },
    dispose: close,
  };
}

/** The logger `tensorboard`: writes event files for TensorBoard. */
export const tensorBoard = definePlugin({
  apiVersion: 2,
  kind: 'logger',
  name: 'tensorboard',
  description: "Writes every step and evaluation to TensorBoard event files in the run's output folder.",
  configSchema,
  create: ({ folder, everySteps }, { outputFolder, logger }) => {
    if (outputFolder !== null) return createTensorBoardLog(join(outputFolder, folder), everySteps);
    logger.warn('The logger tensorboard writes nothing: output.folder is null.');
    return { onRunStart: () => {} };
  },
});
