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
      description: "Name of the file in the run's folder.",
    },
  },
  additionalProperties: false,
} as const;

/** What every line of the log has: what it tells of, and after how many steps. */
interface Line {
  readonly type: 'step' | 'evaluation' | 'end';
  readonly step: number;
}

/**
 * The lines of a log that a run continuing after `step` steps keeps: whole ones, not of a later step, not of an end.
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

/** Writes to an open file; `file` is named in errors. Throws `DISK_FULL` and others of the file system. */
export function appendText(descriptor: number, text: string, file: string): void {
  try {
    writeSync(descriptor, text);
  } catch (cause) {
    throw fileError(cause, file);
  }
}

/**
 * Writes one JSON object a line for every step and evaluation. A resumed run continues the file: lines of steps that
 * will be done again, and a line torn by a crash, are dropped first. Numbers that JSON has not (NaN) become null.
 * Throws `DISK_FULL`.
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
  apiVersion: 1,
  kind: 'logger',
  name: 'metrics-jsonl',
  description: "Writes every step and evaluation as a line of JSON into the run's folder.",
  configSchema,
  create: ({ file }, { outputFolder }) =>
    outputFolder === null ? { onRunStart: () => {} } : createMetricsLog(outputFolder, file),
});
