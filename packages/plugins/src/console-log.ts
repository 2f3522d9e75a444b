import { definePlugin, type Callback, type StepReport } from '@whetstone/core/contract';
import { visibleText } from '@whetstone/core/util';

const configSchema = {
  type: 'object',
  properties: {
    everySteps: {
      type: 'integer',
      minimum: 1,
      default: 1,
      description: 'Write a line every this many steps, and for the last step.',
    },
  },
  additionalProperties: false,
} as const;

/** Formats a duration as `1:02:03` or `2:03`. */
function formatSeconds(seconds: number): string {
  const total = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const two = (value: number): string => String(value).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/**
 * Formats the report of a step: `step 12/200  loss 2.3456  lr 1.00e-4  gradNorm 0.870  850 supervised tokens/s  3:20
 * left`.
 */
function formatStep(report: StepReport, secondsLeft: number): string {
  const { gradNorm } = report.metrics;
  return [
    `step ${report.step}/${report.totalSteps}`,
    `loss ${report.loss.toFixed(4)}`,
    `lr ${report.learningRate.toExponential(2)}`,
    ...(gradNorm === undefined ? [] : [`gradNorm ${gradNorm.toFixed(3)}`]),
    `${Math.round(report.supervisedTokens / report.seconds)} supervised tokens/s`,
    `${formatSeconds(secondsLeft)} left`,
    ...(report.updated ? [] : ['update skipped']),
  ].join('  ');
}

/** Creates a logger that writes plain lines, for log files and pipes. `write` gets each line without a line break. */
function createConsoleLog(write: (line: string) => void, everySteps: number): Callback {
  let seconds = 0;
  let steps = 0;
  return {
    onRunStart: (run) => {
      const share = ((100 * run.trainableParameters) / run.totalParameters).toFixed(2);
      write(
        `${run.totalSteps} steps on ${run.backend} (${run.engine}), ${run.trainableParameters} of ` +
          `${run.totalParameters} parameters trained (${share} %)`,
      );
    },
    onStep: (report) => {
      seconds += report.seconds;
      steps++;
      if (report.step % everySteps !== 0 && report.step !== report.totalSteps) return;
      write(formatStep(report, ((report.totalSteps - report.step) * seconds) / steps));
    },
    onEvaluate: ({ step, loss, perplexity, seconds: took }) =>
      write(`step ${step}: eval loss ${loss.toFixed(4)}, perplexity ${perplexity.toFixed(2)}, ${took.toFixed(1)} s`),
    onSave: ({ step, folder }) => write(`step ${step}: saved ${folder}`),
    onRunEnd: ({ steps: done, stopReason }) =>
      write(`done after ${done} steps${stopReason === null ? '' : `: ${stopReason}`}`),
  };
}

/** The logger `console`: writes steps and evaluations as lines to the standard error. */
export const consoleLog = definePlugin({
  apiVersion: 2,
  kind: 'logger',
  name: 'console',
  description: 'Writes steps and evaluations as plain lines to standard error.',
  configSchema,
  create: ({ everySteps }) => createConsoleLog((line) => process.stderr.write(`${visibleText(line)}\n`), everySteps),
});
