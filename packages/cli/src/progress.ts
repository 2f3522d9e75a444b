import type { InstallOptions, InstallProgress } from '@whetstone/backend/install';
import type { EvaluationReport, Logger, RunInfo, StepReport } from '@whetstone/core/contract';
import { duration, formatBytes, visibleText } from '@whetstone/core/util';
import { MultiBar, type SingleBar } from 'cli-progress';
import { loss, rate } from './format.js';
import type { Terminal } from './terminal.js';

interface Bar {
  update(value: number, words: Readonly<Record<string, string>>): void;
  /** Clears the bar, writes, and draws the bar again. */
  around(write: () => void): void;
  stop(): void;
}

/**
 * A progress bar with text. It is a MultiBar because a SingleBar overwrites lines that were written in the meantime.
 */
function drawBar(
  stream: NodeJS.WriteStream,
  format: string,
  total: number,
  start: number,
  words: Readonly<Record<string, string>>,
): Bar {
  const bars = new MultiBar({
    format,
    barsize: 20,
    hideCursor: true,
    stream,
    fps: 8,
    gracefulExit: false,
    barCompleteChar: '█',
    barIncompleteChar: '░',
  });
  const bar: SingleBar = bars.create(total, start, words);
  return {
    update: (value, payload) => bar.update(value, payload),
    around(write) {
      stream.write('\r\u001B[K');
      write();
      bar.render();
    },
    stop() {
      bars.stop();
    },
  };
}

/** Shows the progress of an installation: a bar on a terminal, otherwise one line per phase. */
export function installProgress(terminal: Terminal, signal?: AbortSignal): InstallOptions & { close(): void } {
  const verbs = { download: 'Fetching', verify: 'Checking', unpack: 'Unpacking' } as const;
  let stage = '';
  let bar: Bar | null = null;
  const close = (): void => {
    bar?.stop();
    bar = null;
    stage = '';
  };
  return {
    signal,
    onMessage: (message) => terminal.line(message),
    onProgress(progress: InstallProgress) {
      const title = `${verbs[progress.stage]} ${progress.subject}`;
      if (title !== stage) {
        close();
        stage = title;
        if (!terminal.interactive)
          terminal.line(`${title}${progress.totalBytes === null ? '' : ` (${formatBytes(progress.totalBytes)})`}`);
        else
          bar = drawBar(
            terminal.stream,
            `${visibleText(title).padEnd(32)} {bar} {percentage} %  {done}`,
            progress.totalBytes ?? 0,
            0,
            { done: '' },
          );
      }
      const done =
        progress.totalBytes === null
          ? formatBytes(progress.doneBytes)
          : `${formatBytes(progress.doneBytes)} of ${formatBytes(progress.totalBytes)}`;
      bar?.update(progress.doneBytes, { done });
    },
    close,
  };
}

/** Shows the progress of a training run from its events. */
export interface TrainingProgress {
  start(run: RunInfo): void;
  step(report: StepReport): void;
  evaluated(report: EvaluationReport): void;
  /** Writes a line above the bar. */
  line(text: string): void;
  /** Wraps a logger so that its lines appear above the bar. */
  logger(logger: Logger): Logger;
  /** Removes the bar. */
  stop(): void;
}

/** Seconds between lines if the bar cannot be redrawn. */
const lineEverySeconds = 5;

/** Measures the speed of a run and estimates the time that is left. */
class Pace {
  /** The number of steps since the start. */
  steps = 0;
  private seconds = 0;
  private tokens = 0;

  start(): void {
    this.steps = this.seconds = this.tokens = 0;
  }

  add(report: StepReport): void {
    // The first step is excluded from the estimate: it includes compilation.
    if (report.seconds > 0 && this.steps > 0) {
      this.seconds += report.seconds;
      this.tokens += report.supervisedTokens;
    }
    this.steps++;
  }

  /** Returns the supervised tokens per second. */
  speed(latest: StepReport): number {
    return this.steps > 1 ? this.tokens / this.seconds : latest.supervisedTokens / latest.seconds;
  }

  /** Returns the time that is left, as text. */
  left(latest: StepReport): string {
    if (latest.step === latest.totalSteps) return 'finishing';
    const secondsPerStep = this.steps > 1 ? this.seconds / (this.steps - 1) : latest.seconds;
    return `${duration(secondsPerStep * (latest.totalSteps - latest.step))} left`;
  }
}

export function trainingProgress(terminal: Terminal): TrainingProgress {
  const pace = new Pace();
  let bar: Bar | null = null;
  let lastLine = -Infinity;
  const around = (write: () => void): void => (bar === null ? write() : bar.around(write));
  return {
    start(run) {
      pace.start();
      if (!terminal.interactive) return;
      bar = drawBar(
        terminal.stream,
        'step {value}/{total} {bar} loss {loss}  lr {rate}  {speed} supervised tokens/s  {left}',
        run.totalSteps,
        run.startStep,
        { loss: '–', rate: '–', speed: '–', left: '' },
      );
    },
    step(report) {
      pace.add(report);
      const words = {
        loss: loss(report.loss),
        rate: rate(report.learningRate),
        speed: pace.speed(report).toFixed(0),
        left: pace.left(report),
      };
      bar?.update(report.step, words);
      const due =
        pace.steps === 1 ||
        report.step === report.totalSteps ||
        performance.now() - lastLine >= lineEverySeconds * 1000;
      if (bar !== null || !due) return;
      lastLine = performance.now();
      terminal.line(
        `step ${report.step}/${report.totalSteps}  loss ${words.loss}  lr ${words.rate}  ${words.speed} ` +
          `supervised tokens/s  ${words.left}`,
      );
    },
    evaluated: (report) => around(() => terminal.line(evaluationLine(report))),
    line: (text) => around(() => terminal.line(text)),
    logger: ({ debug, info, warn, error }) => ({
      debug,
      info: (...message) => around(() => info(...message)),
      warn: (...message) => around(() => warn(...message)),
      error: (...message) => around(() => error(...message)),
    }),
    stop() {
      bar?.stop();
      bar = null;
    },
  };
}

function evaluationLine({ step, loss: evalLoss, perplexity, metrics }: EvaluationReport): string {
  const values = [
    `loss ${loss(evalLoss)}`,
    `perplexity ${perplexity.toFixed(2)}`,
    ...Object.entries(metrics).map(([name, value]) => `${name} ${value.toPrecision(4)}`),
  ];
  return `evaluated at step ${step}: ${values.join(', ')}`;
}
