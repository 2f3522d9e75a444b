import { LOGGER, WhetstoneError, type RunReport, type StageInfo } from '@whetstone/core/contract';
import { provide } from '@whetstone/core';
import { clusterOfEnvironment, workerName } from '@whetstone/core/distributed';
import { continueWithoutOutput } from '@whetstone/core/files';
import { counted, duration, formatBytes } from '@whetstone/core/util';
import { loss } from '../format.js';
import { listenForInterrupt } from '../interrupt.js';
import { isLaunched, onLauncherGone, onPassedSignal, tellLauncherOfCrashes } from '../launched.js';
import { launchWorkers } from '../launch-workers.js';
import { trainingProgress, type TrainingProgress } from '../progress.js';
import { createTerminal, terminalLogger, type Terminal } from '../terminal.js';
import { Trainer } from '../trainer.js';

export interface TrainOptions {
  readonly set: readonly string[];
  readonly resume?: boolean;
  readonly json?: boolean;
  /** Only prepares the run and prints what it would do. */
  readonly dryRun?: boolean;
  /** Processes to start on this machine. By default this one only, or those that TF_CONFIG lists. */
  readonly processes?: number;
}

/**
 * `whetstone train run.json`: trains and shows progress. Of several processes, only worker 0 does. The first
 * SIGINT (Ctrl-C) or SIGTERM ends the run with a checkpoint, the second ends it at once. After a SIGHUP or SIGUSR1, the
 * run writes a checkpoint and continues.
 */
export async function train(config: string, options: TrainOptions): Promise<void> {
  if (options.dryRun === true) return dryRun(config, options);
  const membership = clusterOfEnvironment();
  const loud = createTerminal(options.json === true);
  if (options.processes !== undefined && options.processes !== 1) {
    checkProcesses(options.processes, membership !== null);
    return launchWorkers(options.processes, commandLineOf(config, options), loud);
  }
  const isShowing = membership === null || membership.rank === 0;
  const terminal = isShowing ? loud : quiet(loud);
  if (!isShowing && !isLaunched())
    loud.line(
      `This is ${workerName(membership, membership.rank)} of ${membership.count}; worker 0 shows the progress.`,
    );
  const progress = trainingProgress(terminal);
  const interrupt = listenForInterrupt(
    () => {
      progress.stop();
      if (isShowing)
        terminal.complain(
          'Interrupted: finishing this step and writing a checkpoint. Press Ctrl-C again to stop immediately.',
        );
    },
    (signal) => {
      // The terminal can be gone.
      if (signal === 'SIGHUP') continueWithoutOutput();
      progress.line(`${signal}: writing a checkpoint after this step; the run continues.`);
      trainer.requestSave();
    },
  );
  onLauncherGone(interrupt.abort);
  tellLauncherOfCrashes();
  onPassedSignal();
  const trainer = new Trainer(config, {
    overrides: overridesOf(options),
    services: [provide(LOGGER, progress.logger(terminalLogger(terminal)))],
  });
  showProgress(trainer, progress, terminal);
  try {
    const report = await trainer.run({ signal: interrupt.signal });
    progress.stop();
    describeReport(terminal, report);
    terminal.result(report);
  } finally {
    progress.stop();
    interrupt.close();
  }
}

/** @throws `USAGE` if no processes are to be started, or if this one is already a worker of others */
function checkProcesses(processes: number, isWorker: boolean): void {
  if (processes === 0)
    throw new WhetstoneError('USAGE', 'A run needs at least one process.', { found: '--processes 0' });
  if (isWorker)
    throw new WhetstoneError(
      'USAGE',
      '--processes starts workers, but TF_CONFIG already makes this process a worker.',
      { hint: 'Use only one of them.' },
    );
}

/** Shows the events of a run. */
function showProgress(trainer: Trainer, progress: TrainingProgress, terminal: Terminal): void {
  trainer.on('stage:start', (stage) => {
    progress.stop();
    terminal.line(stageHeading(stage, terminal));
  });
  trainer.on('run:start', (run) => {
    progress.stop();
    terminal.line(
      `${counted(run.totalSteps, 'step')}; ${run.trainableParameters.toLocaleString('en')} of ` +
        `${run.totalParameters.toLocaleString('en')} parameters are trained.`,
    );
    if (run.startStep > 0) terminal.line(`Resuming after step ${run.startStep}.`);
    progress.start(run);
  });
  trainer.on('step', progress.step);
  trainer.on('evaluate', progress.evaluated);
  trainer.on('save', ({ folder }) => progress.line(`saved ${folder}`));
}

const overridesOf = ({ set, resume }: TrainOptions): readonly string[] => [
  ...set,
  ...(resume === true ? ['training.resumeFromCheckpoint=true'] : []),
];

/**
 * `whetstone train run.json --dry-run`: does what a run does before its first step, and prints what it would do.
 */
async function dryRun(config: string, options: TrainOptions): Promise<void> {
  if (options.processes !== undefined && options.processes !== 1)
    throw new WhetstoneError('USAGE', '--dry-run prepares the run in one process.', {
      found: `--processes ${options.processes}`,
      hint: 'Leave out --processes.',
    });
  const { printLegend, printPlan } = await import('../run-plan.js');
  const terminal = createTerminal(options.json === true);
  const interrupt = listenForInterrupt(() => terminal.complain('Stopping.'));
  const trainer = new Trainer(config, {
    overrides: overridesOf(options),
    services: [provide(LOGGER, terminalLogger(terminal))],
  });
  trainer.on('stage:start', (stage) => terminal.line(stageHeading(stage, terminal)));
  try {
    const plans = await trainer.plan({ signal: interrupt.signal });
    for (const plan of plans) printPlan(plan, terminal);
    if (plans.some(({ samples }) => samples.length > 0)) printLegend(terminal);
    terminal.line('Dry run: nothing was trained, and nothing was written to the output folder.');
    terminal.result({ dryRun: true, plans });
  } finally {
    interrupt.close();
  }
}

const stageHeading = ({ name, index, count }: StageInfo, { paint }: Terminal): string =>
  paint.bold(`Stage ${index + 1} of ${count}: ${name}`);

/** The command line of every worker. */
const commandLineOf = (config: string, { set, resume, json }: TrainOptions): string[] => [
  'train',
  config,
  ...set.flatMap((setting) => ['--set', setting]),
  ...(resume === true ? ['--resume'] : []),
  ...(json === true ? ['--json'] : []),
];

/** A terminal for workers other than 0: it shows only errors. Worker 0 shows the warnings. */
const quiet = (terminal: Terminal): Terminal => ({
  ...terminal,
  interactive: false,
  line: () => undefined,
  write: () => undefined,
  result: () => undefined,
  complain: () => undefined,
});

/** Prints the results of a run in a few lines. */
export function describeReport(terminal: Terminal, report: RunReport): void {
  terminal.line(
    `${counted(report.steps, 'step')} in ${duration(report.seconds)}: ${report.samplesPerSecond.toFixed(2)} ` +
      `conversations/s, ${report.tokensPerSecond.toFixed(0)} tokens/s, ` +
      `${report.supervisedTokensPerSecond.toFixed(0)} supervised tokens/s, ` +
      `${formatBytes(report.peakMemoryBytes)} at most`,
  );
  for (const { stage, steps, evalLossBefore, evalLossAfter } of report.stages ?? []) {
    const losses = evalLossAfter === null ? '' : `, evaluation loss ${loss(evalLossBefore)} → ${loss(evalLossAfter)}`;
    terminal.line(`  ${stage}: ${counted(steps, 'step')}${losses}`);
  }
  if (report.evalLossBefore !== null || report.evalLossAfter !== null)
    terminal.line(
      `evaluation loss ${loss(report.evalLossBefore)} → ${terminal.paint.bold(loss(report.evalLossAfter))}`,
    );
  if (report.stopReason !== null) terminal.line(`stopped early: ${report.stopReason}`);
  if (report.outputFolder !== null) terminal.line(`written to ${report.outputFolder}`);
}
