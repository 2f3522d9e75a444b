import { closeSync, fsyncSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { definePlugin, type Callback } from '@whetstone/core/contract';
import { fileError } from '@whetstone/core/files';
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

/**
 * Creates a logger that writes steps and evaluations for TensorBoard (`tensorboard --logdir runs`). Each start of a run
 * writes a new file. A resumed run lets TensorBoard discard the steps that it repeats.
 *
 * @throws `DISK_FULL`
 */
export function createTensorBoardLog(folder: string, everySteps = 1, now: () => number = Date.now): Callback {
  let open: { readonly descriptor: number; readonly file: string } | null = null;
  const write = (event: TensorBoardEvent): void => {
    if (open === null) return;
    try {
      writeSync(open.descriptor, frameRecord(encodeEvent(event)));
    } catch (cause) {
      throw fileError(cause, open.file);
    }
  };
  const close = (): void => {
    if (open === null) return;
    fsyncSync(open.descriptor);
    closeSync(open.descriptor);
    open = null;
  };
  return {
    onRunStart: ({ startStep }) => {
      close();
      mkdirSync(folder, { recursive: true });
      const seconds = now() / 1000;
      // TensorBoard recognizes event files by this name, and reads them in the order of their names.
      const file = join(
        folder,
        `events.out.tfevents.${seconds.toFixed(3).replace('.', '').padStart(13, '0')}.${hostname()}.${process.pid}`,
      );
      open = { file, descriptor: openSync(file, 'a') };
      write({ kind: 'version', seconds, step: 0 });
      write({ kind: 'start', seconds, step: startStep + 1 });
    },
    onStep: (report) => {
      if (report.step % everySteps === 0 || report.step === report.totalSteps)
        write({ kind: 'scalars', seconds: now() / 1000, step: report.step, scalars: scalarsOf('train', report) });
    },
    onEvaluate: (report) =>
      write({ kind: 'scalars', seconds: now() / 1000, step: report.step, scalars: scalarsOf('eval', report) }),
    onSave: () => {
      if (open !== null) fsyncSync(open.descriptor);
    },
    onRunEnd: close,
    onRunError: close,
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
  create: ({ folder, everySteps }, { outputFolder }) =>
    outputFolder === null ? { onRunStart: () => {} } : createTensorBoardLog(join(outputFolder, folder), everySteps),
});
