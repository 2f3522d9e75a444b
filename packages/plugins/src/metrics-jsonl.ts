import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { definePlugin, type Callback } from '@whetstone/core/contract';
import { fileError, writeAtomically } from '@whetstone/core/files';

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

/**
 * Returns the lines that a run resumed after `step` steps keeps: complete lines of steps up to `step`, without the end.
 */
function linesToKeep(text: string, step: number): string[] {
  return text.split('\n').filter((line) => {
    try {
      const parsed = JSON.parse(line) as Partial<Line>;
      return parsed.type !== 'end' && typeof parsed.step === 'number' && parsed.step <= step;
    } catch {
      return false;
    }
  });
}

/**
 * Appends text to an open file.
 *
 * @param file the path for error messages
 * @throws `DISK_FULL` and other file system errors
 */
export function appendText(descriptor: number, text: string, file: string): void {
  try {
    writeSync(descriptor, text);
  } catch (cause) {
    throw fileError(cause, file);
  }
}

/**
 * Creates a logger that writes one line of JSON for every step and evaluation. NaN and infinities become null.
 *
 * A resumed run continues the file. Lines of steps that will be repeated, and incomplete lines, are removed first.
 *
 * @throws `DISK_FULL`
 */
export function createMetricsLog(folder: string, fileName: string): Callback {
  let descriptor: number | null = null;
  const write = (line: Line & Readonly<Record<string, unknown>>): void => {
    if (descriptor !== null) appendText(descriptor, `${JSON.stringify(line)}\n`, join(folder, fileName));
  };
  const close = (): void => {
    if (descriptor === null) return;
    fsyncSync(descriptor);
    closeSync(descriptor);
    descriptor = null;
  };
  return {
    onRunStart: async ({ startStep }) => {
      close();
      mkdirSync(folder, { recursive: true });
      const file = join(folder, fileName);
      const kept = startStep > 0 && existsSync(file) ? linesToKeep(readFileSync(file, 'utf8'), startStep) : [];
      await writeAtomically(file, async (handle) => handle.writeFile(kept.map((line) => `${line}\n`).join('')));
      descriptor = openSync(file, 'a');
    },
    onStep: ({ metrics, ...report }) => write({ type: 'step', ...report, ...metrics }),
    onEvaluate: ({ metrics, ...report }) => write({ type: 'evaluation', ...report, ...metrics }),
    onSave: () => {
      if (descriptor !== null) fsyncSync(descriptor);
    },
    onRunEnd: (report) => {
      const { steps, outputFolder: _folder, ...rest } = report;
      write({ type: 'end', step: steps, ...rest });
      close();
    },
    onRunError: close,
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
  create: ({ file }, { outputFolder }) =>
    outputFolder === null ? { onRunStart: () => {} } : createMetricsLog(outputFolder, file),
});
