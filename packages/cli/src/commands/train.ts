import { LOGGER, provide, type RunReport } from '@whetstone/core';
import { duration, loss, bytes } from '../format.js';
import { listenForInterrupt } from '../interrupt.js';
import { trainingProgress } from '../progress.js';
import { createTerminal, terminalLogger, type Terminal } from '../terminal.js';
import { Trainer } from '../trainer.js';

export interface TrainOptions {
  readonly set: readonly string[];
  readonly resume?: boolean;
  readonly json?: boolean;
}

/** `whetstone train run.json`: trains with progress; the first Ctrl-C ends the run with a checkpoint, the second at once. */
export async function train(config: string, options: TrainOptions): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const progress = trainingProgress(terminal);
  const interrupt = listenForInterrupt(() => {
    progress.stop();
    terminal.complain('Interrupted: finishing this step and writing a checkpoint. Once more ends at once.');
  });
  const trainer = new Trainer(config, {
    overrides: [...options.set, ...(options.resume === true ? ['training.resumeFromCheckpoint=true'] : [])],
    services: [provide(LOGGER, progress.logger(terminalLogger(terminal)))],
  });
  trainer.on('run:start', (run) => {
    progress.stop();
    if (run.stage !== undefined) terminal.line(terminal.paint.bold(`Stage ${run.stage.index + 1} of ${run.stage.count}: ${run.stage.name}`));
    terminal.line(`${run.totalSteps} steps; ${run.trainableParameters.toLocaleString('en')} of ${run.totalParameters.toLocaleString('en')} parameters are trained.`);
    if (run.startStep > 0) terminal.line(`Going on after step ${run.startStep}.`);
    progress.start(run);
  });
  trainer.on('step', progress.step);
  trainer.on('evaluate', progress.evaluated);
  trainer.on('save', ({ folder }) => progress.line(`saved ${folder}`));
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

/** What a run came to, in a few lines. */
export function describeReport(terminal: Terminal, report: RunReport): void {
  terminal.line(
    `${report.steps} steps in ${duration(report.seconds)}: ${report.samplesPerSecond.toFixed(2)} conversations/s, ${report.tokensPerSecond.toFixed(0)} tokens/s, ` +
      `${report.supervisedTokensPerSecond.toFixed(0)} supervised tokens/s, ${bytes(report.peakMemoryBytes)} at most`,
  );
  for (const stage of report.stages ?? []) terminal.line(`  ${stage.stage}: ${stage.steps} steps, evaluation loss ${loss(stage.evalLossBefore)} → ${loss(stage.evalLossAfter)}`);
  if (report.evalLossBefore !== null || report.evalLossAfter !== null) terminal.line(`evaluation loss ${loss(report.evalLossBefore)} → ${terminal.paint.bold(loss(report.evalLossAfter))}`);
  if (report.stopReason !== null) terminal.line(`stopped early: ${report.stopReason}`);
  if (report.outputFolder !== null) terminal.line(`everything is in ${report.outputFolder}`);
}

